"""Dataclasses from TOML: unknown keys are errors with a suggestion, values must have the field's type."""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from narrowcast.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


def from_dict(cls: type[T], values: dict[str, Any], *, where: str) -> T:
    """An instance of the dataclass `cls` from plain values, nested dataclasses included.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing key, or a value of another type; the
            message begins with `where`, the file or option that the values came from.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key '{key}'{did_you_mean(key, fields)}")
    converted = {key: _convert(value, hints[key], where=f"{where}: {key}") for key, value in values.items()}
    missing = [name for name, field in fields.items() if _is_required(field) and name not in converted]
    if missing:
        raise ConfigError(f"{where}: missing key '{missing[0]}'")
    return cls(**converted)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass `config` as values that JSON can hold."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def difference(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str | None:
    """The first value of `now` that was another in `before`, or None.

    >>> difference({"schedule": {"accuracy": 0.8}}, {"schedule": {"accuracy": 0.7}})
    'schedule.accuracy = 0.8, not 0.7'
    """
    for key, value in now.items():
        was = before.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            inner = difference(was, value, f"{prefix}{key}.")
            if inner is not None:
                return inner
        elif was != value:
            return f"{prefix}{key} = {was}, not {value}"
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(value: Any, hint: Any, *, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(value, typing.get_args(hint), where=where)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(f"{where} = {value!r}: expected one of {', '.join(map(str, typing.get_args(hint)))}")
        return value
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint), where=where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} = {value}: expected a finite number")
    if hint is Path and isinstance(value, str):
        return Path(value)
    # hint is a class by now, which pyright cannot know
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):  # pyright: ignore[reportArgumentType]
        raise ConfigError(f"{where} = {value!r}: expected {_name(hint)}")
    return value


def _name(hint: Any) -> str:
    if hint is type(None):
        return "nothing"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _convert_union(value: Any, options: tuple[Any, ...], *, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    for option in options:
        try:
            return _convert(value, option, where=where)
        except (ConfigError, TypeError):
            continue
    raise ConfigError(f"{where} = {value!r}: expected {' or '.join(map(_name, options))}")


def _convert_tuple(value: Any, hints: tuple[Any, ...], *, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} = {value!r}: expected a list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise ConfigError(f"{where} = {value!r}: expected {len(hints)} values")
    return tuple(_convert(item, hint, where=where) for item, hint in zip(value, hints, strict=True))


def read_recipe(path: Path | None, settings: list[str], *, known: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The sections of a TOML recipe, with `settings` such as "training.steps=2000" laid over them.

    Raises:
        ConfigError: no such file, not TOML, an unknown section, or a setting that is not section.key=value.
    """
    sections: dict[str, dict[str, Any]] = {}
    if path is not None:
        try:
            sections = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not a recipe: {error}") from None
        if loose := [key for key, value in sections.items() if not isinstance(value, dict)]:
            raise ConfigError(f"{path}: '{loose[0]}' stands in no section; the sections are {', '.join(known)}")
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {setting}: expected section.key=value")
        sections.setdefault(section, {})[key] = _parse_value(text.strip())
    for section in sections:
        if section not in known:
            where = path if path else "--set"
            raise ConfigError(f"{where}: unknown section [{section}]{did_you_mean(section, known)}")
    return sections


def _parse_value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
