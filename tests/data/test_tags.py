"""What an image's name says corrects what a teacher says of its pixels."""

from pathlib import Path

import numpy as np
import pytest

from narrowcast.core.errors import ClassNameError, ConfigError
from narrowcast.core.frames import IGNORE
from narrowcast.data.tags import TagRule, Tags, no_tags, read_tags
from narrowcast.models.taxonomy import VOC

CLASSES = ("background", "bird", "boat", "bottle", "cat", "dog")
BIRD, BOAT, BOTTLE, CAT, DOG = range(1, 6)

RULES = """
animals = ["bird", "cat", "dog"]

[sets]
beasts = ["bird", "cat", "dog"]

[[rule]]
between = ["photos/n100", "photos/n200"]
is = "dog"
absent = ["boat"]

[[rule]]
match = ["photos/globe/*", "photos/sphere*"]
absent = ["beasts", "boat"]
unsure = ["bottle"]

[[rule]]
match = ["photos/*"]
unsure = ["boat"]
"""


@pytest.fixture
def tags(tmp_path: Path) -> Tags:
    (tmp_path / "tags.toml").write_text(RULES)
    return read_tags(tmp_path / "tags.toml", CLASSES)


def corrected(tags: Tags, name: str) -> list[int]:
    return tags.table(name)[: len(CLASSES)].tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("photos/n150_pug.jpg", [0, DOG, 0, BOTTLE, DOG, DOG], id="any animal is the one that is there"),
        pytest.param("photos/globe/1.jpg", [0, 0, 0, IGNORE, 0, 0], id="absent is background, unsure unknown"),
        pytest.param("photos/sphere.jpg", [0, 0, 0, IGNORE, 0, 0], id="a second pattern"),
        pytest.param("photos/n300.jpg", [0, BIRD, IGNORE, BOTTLE, CAT, DOG], id="the first rule that fits counts"),
        pytest.param("others/n150.jpg", [0, BIRD, BOAT, BOTTLE, CAT, DOG], id="no rule, no correction"),
    ],
)
def test_tables(tags: Tags, name: str, expected: list[int]) -> None:
    assert corrected(tags, name) == expected


def test_unknown_stays_unknown_and_values_beyond_the_classes_stay(tags: Tags) -> None:
    for name in ("photos/n150.jpg", "photos/globe/1.jpg", "photos/x.jpg", "others/x.jpg"):
        assert tags.table(name)[IGNORE] == IGNORE
        assert tags.table(name)[len(CLASSES) :].tolist() == list(range(len(CLASSES), 256))


def test_without_tags_every_table_is_the_identity() -> None:
    assert np.array_equal(no_tags(CLASSES).table("photos/n150.jpg"), np.arange(256))


@pytest.mark.parametrize(
    ("name", "fits"),
    [("a/n2", True), ("a/n2_x.jpg", True), ("a/n3", True), ("a/n5_y.jpg", True), ("a/n6", False), ("a/n1", False)],
)
def test_a_range_holds_both_of_its_ends(name: str, fits: bool) -> None:
    assert TagRule(between=("a/n2", "a/n5")).fits(name) == fits


def test_what_is_there_is_never_absent() -> None:
    rule = TagRule(match=("*",), is_="dog", absent=("dog", "cat"), unsure=("dog",))
    assert corrected(Tags((rule,), (), CLASSES), "x") == [0, BIRD, BOAT, BOTTLE, 0, DOG]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        pytest.param("animals = [", ConfigError, "tags.toml: not a file of tags", id="not TOML"),
        pytest.param('animal = ["dog"]', ConfigError, r"unknown key 'animal' \(did you mean 'animals'\?\)", id="key"),
        pytest.param('[[rule]]\nmatsh = ["x"]', ConfigError, r"rule 1: unknown key 'matsh'.*'match'", id="rule's key"),
        pytest.param('[[rule]]\nbetween = ["x"]', ConfigError, "rule 1: between", id="half a range"),
        pytest.param('[[rule]]\nis = "dgo"', ClassNameError, r"tags.toml: 'dgo'.*'dog'", id="class"),
        pytest.param('[[rule]]\nabsent = ["shoe"]', ClassNameError, "'shoe' is not a class", id="absent class"),
        pytest.param('animals = ["unicorn"]', ClassNameError, "'unicorn' is not a class", id="animal"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, kind: type[Exception], message: str) -> None:
    (tmp_path / "tags.toml").write_text(text)
    with pytest.raises(kind, match=message):
        read_tags(tmp_path / "tags.toml", CLASSES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: not a file of tags"):
        read_tags(tmp_path / "none.toml", CLASSES)


def test_the_shipped_rules_can_be_read(repository: Path) -> None:
    tags = read_tags(repository / "recipes" / "pretrain-tags.toml", VOC)
    table = tags.table("imagenet-sample/n02085620_Chihuahua.jpg")
    assert table[VOC.index("cat")] == table[VOC.index("sheep")] == VOC.index("dog")
