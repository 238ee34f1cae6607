"""The examples in docstrings run and give what they say."""

import doctest
import importlib
import inspect
import pkgutil
import types
from typing import Any

import pytest

import narrowcast

MODULES = [
    module.name
    for module in pkgutil.walk_packages(narrowcast.__path__, "narrowcast.")
    if not module.name.endswith("__main__")
]


class _Finder(doctest.DocTestFinder):
    """Finds functions behind the wrappers that check their types."""

    def _from_module(self, module: types.ModuleType, object: Any) -> bool:
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)  # type: ignore[misc]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for example in _Finder().find(module, name):
        assert runner.run(example).failed == 0, example.name


def test_the_examples_are_found() -> None:
    module = importlib.import_module("narrowcast.core.errors")
    assert sum(len(example.examples) for example in _Finder().find(module, "errors")) == 2
