import pytest

from narrowcast.core.errors import NarrowcastError
from narrowcast.stream.distill import METHODS
from narrowcast.stream.methods import Distilled, Frozen, Propagated, Segmenter, parse_method, parse_methods
from narrowcast.stream.one_shot import OneShot
from narrowcast.stream.oracle import Oracle


def test_names_are_methods() -> None:
    found = parse_methods("default-0.7, hold-8,flow-dis-16,frozen,frozen:a/b.safetensors,segmenter:maskrcnn")
    assert found["hold-8"] == Propagated("hold", 8)
    assert found["flow-dis-16"] == Propagated("flow-dis", 16)
    assert found["frozen"] == Frozen()
    assert found["frozen:a/b.safetensors"] == Frozen("a/b.safetensors")
    assert parse_method("osvos-a") == OneShot("a", 30)
    assert parse_method("osvos-b-60") == OneShot("b", 60)
    assert parse_method("oracle") == Oracle(5)
    assert parse_method("oracle-10:mobilenetv2") == Oracle(10, student="mobilenetv2")
    assert found["segmenter:maskrcnn"] == Segmenter("maskrcnn")
    method = found["default-0.7"]
    assert isinstance(method, Distilled)
    assert method.config.schedule.accuracy == 0.7
    assert method.is_seeded


def test_settings_stand_in_brackets() -> None:
    text = "thesis-0.9:mobilenetv2[schedule.max_updates=4,distill.replay=3],thesis"
    changed, plain = parse_methods(text).values()
    assert isinstance(changed, Distilled)
    assert (changed.config.schedule.accuracy, changed.config.schedule.max_updates) == (0.9, 4)
    assert (changed.config.replay, changed.config.learner) == (3, METHODS["thesis"].learner)
    assert changed.student == "mobilenetv2"
    assert plain == Distilled(METHODS["thesis"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "names no method"),
        ("defualt-0.8", "did you mean 'default-0.8'"),
        ("hold", "needs frames from one teacher call to the next, as in hold-8"),
        ("hold-0", "needs frames"),
        ("flow-dis-0.5", "needs frames"),
        ("default-1.5", "accuracy = 1.5"),
        ("default-0..8", "is not an accuracy"),
        ("hold-8,hold-8", "named twice"),
        ("hold-8[schedule.max_stride=4]", "take settings in brackets"),
        ("default[schedule.max_strid=4]", "did you mean 'max_stride'"),
        ("default[shedule.max_stride=4]", "did you mean 'schedule'"),
        ("default-0.8[", "expected NAME-NUMBER"),
    ],
)
def test_what_is_wrong_is_said(name: str, says: str) -> None:
    with pytest.raises(NarrowcastError, match=says.replace("[", r"\[")):
        parse_methods(name)


def test_a_number_belongs_to_the_name_before_it() -> None:
    assert parse_method("default-0.75") == parse_method("default-0.750")
