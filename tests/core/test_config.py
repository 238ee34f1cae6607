"""Settings from TOML: what is unknown, missing or of another type is refused, and said with its place."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from narrowcast.core.config import from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    max_stride: int = 64
    accuracy: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ConfigError(f"accuracy = {self.accuracy}: must be between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    name: str
    is_live: bool = False
    method: Literal["thesis", "default"] = "default"
    folder: Path = Path("runs")
    size_wh: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    limit: int | str = 0
    schedule: Inner = field(default_factory=Inner)


def test_values_become_what_the_fields_say() -> None:
    made = from_dict(
        Outer,
        {
            "name": "city",
            "is_live": True,
            "method": "thesis",
            "folder": "runs/city",
            "size_wh": [640, 360],
            "scales": [1, 0.5],
            "limit": "all",
            "schedule": {"max_stride": 32, "accuracy": 0.7},
        },
        where="recipe.toml",
    )
    assert made == Outer(
        name="city",
        is_live=True,
        method="thesis",
        folder=Path("runs/city"),
        size_wh=(640, 360),
        scales=(1.0, 0.5),
        limit="all",
        schedule=Inner(max_stride=32, accuracy=0.7),
    )
    assert all(isinstance(scale, float) for scale in made.scales)


def test_what_is_left_out_keeps_its_default() -> None:
    assert from_dict(Outer, {"name": "city"}, where="recipe.toml") == Outer(name="city")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"nam": "x"}, r"recipe.toml: unknown key 'nam' \(did you mean 'name'\?\)", id="a typo"),
        pytest.param({}, "recipe.toml: missing key 'name'", id="missing"),
        pytest.param({"name": 3}, "recipe.toml: name = 3: expected str", id="number for text"),
        pytest.param({"name": "x", "is_live": 1}, "is_live = 1: expected bool", id="number for bool"),
        pytest.param({"name": "x", "method": "best"}, "method = 'best': expected one of thesis, default", id="choice"),
        pytest.param({"name": "x", "size_wh": [640]}, r"size_wh = \[640\]: expected .*tuple.* or nothing", id="pair"),
        pytest.param({"name": "x", "scales": 1.0}, "scales = 1.0: expected a list", id="scalar for list"),
        pytest.param({"name": "x", "scales": ["a"]}, "scales = 'a': expected float", id="text in list"),
        pytest.param({"name": "x", "limit": 1.5}, "limit = 1.5: expected int or str", id="none of several"),
        pytest.param({"name": "x", "folder": 1}, "folder = 1: expected Path", id="number for path"),
        pytest.param({"name": "x", "schedule": 1}, "schedule = 1: expected Inner", id="number for a table"),
        pytest.param(
            {"name": "x", "schedule": {"max_strid": 1}},
            r"recipe.toml: schedule: unknown key 'max_strid' \(did you mean 'max_stride'\?\)",
            id="a typo within",
        ),
        pytest.param({"name": "x", "schedule": {"max_stride": True}}, "max_stride = True: expected int", id="bool"),
        pytest.param({"name": "x", "schedule": {"max_stride": 1.5}}, "max_stride = 1.5: expected int", id="fraction"),
        pytest.param({"name": "x", "schedule": {"accuracy": True}}, "accuracy = True: expected float", id="bool again"),
        pytest.param({"name": "x", "schedule": {"accuracy": 2}}, "accuracy = 2.0: must be between", id="own rule"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_dict(Outer, values, where="recipe.toml")
    assert "\n" not in str(caught.value)


def test_a_config_survives_json() -> None:
    config = Outer(name="city", size_wh=(640, 360), folder=Path("runs/city"), schedule=Inner(accuracy=0.7))
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config))), where="run.json") == config


KNOWN = ("schedule", "training")


def test_settings_are_laid_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[schedule]\nmax_stride = 64\naccuracy = 0.8\n[training]\nname = "été"\n', encoding="utf-8")
    settings = ["schedule.max_stride=32", "training.rates = [0.1, 1]", "training.name=word", "training.is_on=true"]
    assert read_recipe(recipe, settings, known=KNOWN) == {
        "schedule": {"max_stride": 32, "accuracy": 0.8},
        "training": {"name": "word", "rates": [0.1, 1], "is_on": True},
    }


def test_without_a_recipe_there_are_the_settings() -> None:
    assert read_recipe(None, [], known=KNOWN) == {}
    assert read_recipe(None, ["training.path=a=b"], known=KNOWN) == {"training": {"path": "a=b"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[schedul]\n", r"recipe.toml: unknown section \[schedul\] \(did you mean 'schedule'\?\)", id="typo"
        ),
        pytest.param("steps = 3\n", "recipe.toml: 'steps' stands in no section", id="outside"),
        pytest.param("training = 3\n", "recipe.toml: 'training' stands in no section", id="a value for a section"),
        pytest.param("[training\n", "recipe.toml: not a recipe", id="not TOML"),
        pytest.param("# \udcff\n", "recipe.toml: not a recipe", id="not UTF-8"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "recipe.toml", [], known=KNOWN)


@pytest.mark.parametrize("setting", ["steps", "steps=3", "training.steps", "=3", ""])
def test_a_setting_is_section_dot_key_equals_value(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {setting}: expected section.key=value"):
        read_recipe(None, [setting], known=KNOWN)


def test_an_unknown_section_on_the_command_line_is_said_to_be_there() -> None:
    with pytest.raises(ConfigError, match=r"--set: unknown section \[trainin\] \(did you mean 'training'\?\)"):
        read_recipe(None, ["trainin.steps=3"], known=KNOWN)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file"):
        read_recipe(tmp_path / "none.toml", [], known=KNOWN)
