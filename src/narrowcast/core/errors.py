"""Errors that a user can cause. What only a programmer can cause is an `assert`."""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class NarrowcastError(Exception):
    """One line: what was expected, what came, where, and what to do. The command line exits with `exit_code`."""

    exit_code: ClassVar[int] = 1  # failed


class UsageError(NarrowcastError):
    """The caller asked for what cannot be: an option out of range, an unknown name, a setting without effect."""

    exit_code: ClassVar[int] = 2  # misused


class ConfigError(UsageError):
    """A setting is out of its range, unknown or contradicts another."""


class ClassNameError(UsageError):
    """A class name is not one that the teacher or the taxonomy knows."""


class SourceError(NarrowcastError):
    """A video, image or folder cannot be read."""


class WeightsError(NarrowcastError):
    """A file of weights is missing, damaged or does not fit the network."""


class DependencyError(NarrowcastError):
    """An optional package is needed and not installed."""


class ShapeError(NarrowcastError):
    """An array or tensor does not have the shape that was asked for."""


class DivergedError(NarrowcastError):
    """Training has left the finite numbers, or all that it was for; what was learned last is not worth keeping."""


class StorageError(NarrowcastError):
    """Something could not be written: a full disk, a read-only folder, a run folder in use."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion to append to an error message, or the empty string.

    >>> did_you_mean("bicyle", ["bicycle", "person"])
    " (did you mean 'bicycle'?)"
    >>> did_you_mean("zebra", ["bicycle"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
