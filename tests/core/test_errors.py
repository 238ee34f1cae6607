"""Errors carry the exit code that the command line ends with, and suggest the name that was meant."""

import inspect

import pytest

from narrowcast.core import errors
from narrowcast.core.errors import NarrowcastError, UsageError, did_you_mean

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, NarrowcastError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_misuse_exits_with_2_and_failure_with_1(kind: type[NarrowcastError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_message_is_what_was_said(kind: type[NarrowcastError]) -> None:
    assert str(kind("labels.csv:17: no such class")) == "labels.csv:17: no such class"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        pytest.param("bicyle", " (did you mean 'bicycle'?)", id="one letter short"),
        pytest.param("persons", " (did you mean 'person'?)", id="plural"),
        pytest.param("zebra", "", id="nothing near"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_suggestions(name: str, suggestion: str) -> None:
    assert did_you_mean(name, ["bicycle", "person"]) == suggestion


def test_suggestions_take_any_iterable() -> None:
    assert did_you_mean("persn", {"person": 1}) == " (did you mean 'person'?)"
    assert did_you_mean("persn", iter(["person"])) == " (did you mean 'person'?)"
