"""What is known of an image as a whole, from its folder or name, corrects what a teacher says of its pixels.

A TOML file of rules; the first whose pattern fits an image's path (folder name first) counts:

```toml
animals = ["bird", "cat", "cow", "dog", "horse", "sheep"]   # mutually exclusive in one tagged image

[[rule]]
between = ["imagenet-sample/n02085620", "imagenet-sample/n02113978"]
is = "dog"               # whatever animal the teacher sees here is a dog

[[rule]]
match = ["caltech101/globe/*"]
absent = ["boat"]        # the teacher is wrong where it sees these: background
unsure = ["bottle"]      # it may be right: not learned from
```
"""

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ClassNameError, ConfigError, did_you_mean
from narrowcast.core.frames import IGNORE

TOP_LEVEL = ("animals", "sets", "rule")


@dataclass(frozen=True, kw_only=True, slots=True)
class TagRule:
    """Which images, and what is true of them."""

    match: tuple[str, ...] = ()
    between: tuple[str, str] | None = None
    is_: str | None = None
    absent: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    def fits(self, name: str) -> bool:
        """Whether the rule is about the image called `name` (folder/file, with forward slashes)."""
        if self.between and self.between[0] <= name[: len(self.between[0])] <= self.between[1]:
            return True
        return any(fnmatch(name, pattern) for pattern in self.match)


@dataclass(frozen=True, slots=True)
class Tags:
    """Rules, the classes that exclude each other, and the names that label values stand for."""

    rules: tuple[TagRule, ...]
    animals: tuple[str, ...]
    classes: tuple[str, ...]

    def table(self, name: str) -> UInt8[np.ndarray, "256"]:
        """A lookup from the teacher's label values to the corrected ones, for the image called `name`."""
        lookup = np.arange(256, dtype=np.uint8)
        rule = next((rule for rule in self.rules if rule.fits(name)), None)
        if rule is None:
            return lookup
        if rule.is_ in self.animals:
            lookup[[self.classes.index(animal) for animal in self.animals]] = self.classes.index(rule.is_)
        lookup[[self.classes.index(absent) for absent in rule.absent if absent != rule.is_]] = 0
        lookup[[self.classes.index(unsure) for unsure in rule.unsure if unsure != rule.is_]] = IGNORE
        return lookup


def no_tags(classes: tuple[str, ...]) -> Tags:
    """Nothing is known: every table is the identity."""
    return Tags((), (), classes)


def read_tags(path: Path, classes: tuple[str, ...]) -> Tags:
    """The rules in `path`, for labels of `classes`.

    Raises:
        ConfigError: not TOML, or an unknown key.
        ClassNameError: a class that `classes` lacks.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither TOML nor, perhaps, UTF-8
        raise ConfigError(f"{path}: not a file of tags: {error}") from None
    for key in raw:
        if key not in TOP_LEVEL:
            raise ConfigError(f"{path}: unknown key '{key}'{did_you_mean(key, TOP_LEVEL)}")
    sets = {name: tuple(members) for name, members in raw.get("sets", {}).items()}
    rules = tuple(_rule(rule, sets, f"{path}: rule {ix}") for ix, rule in enumerate(raw.get("rule", []), start=1))
    animals = tuple(raw.get("animals", ()))
    named = {name for rule in rules for name in (*rule.absent, *rule.unsure, *filter(None, [rule.is_]))}
    for name in (*animals, *sorted(named)):
        if name not in classes:
            raise ClassNameError(f"{path}: '{name}' is not a class of the labels{did_you_mean(name, classes)}")
    return Tags(rules, animals, classes)


def _rule(raw: dict, sets: dict[str, tuple[str, ...]], where: str) -> TagRule:
    """A rule in which the names of `[sets]` stand for their members."""
    values = {("is_" if key == "is" else key): value for key, value in raw.items()}
    for key in ("absent", "unsure"):
        values[key] = [member for name in values.get(key, ()) for member in sets.get(name, (name,))]
    return from_dict(TagRule, values, where=where)
