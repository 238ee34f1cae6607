"""Types and shapes of every signature of narrowcast, checked at run time while the tests run."""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError
from torch import fx

from narrowcast.core.errors import NarrowcastError

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is welcome where a float is asked for
_jaxtyped = jaxtyping.jaxtyped


def install() -> None:
    """Check whatever of narrowcast is imported from now on.

    A call that breaks its signature fails the test, unless the function itself refuses it with a NarrowcastError: tests
    of bad input then see what a user would see.
    """
    jaxtyping.jaxtyped = _checked_or_refused  # the name that the import hook decorates with
    jaxtyping.install_import_hook("narrowcast", "typechecking.check")


def _checked_or_refused(fn: Any = None, *, typechecker: Any) -> Any:
    if fn is None:
        return functools.partial(_checked_or_refused, typechecker=typechecker)
    if getattr(fn, "_is_protocol", False):
        return typing.runtime_checkable(fn)  # so that arguments are checked for its members
    checked = _jaxtyped(fn, typechecker=typechecker)
    if not inspect.isfunction(fn):
        return checked

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if any(isinstance(value, fx.Proxy) for value in (*args, *kwargs.values())):
            return fn(*args, **kwargs)  # torch.fx traces with stand-ins for tensors, which have no shape to check
        try:
            return checked(*args, **kwargs)
        except TypeCheckError as error:
            if not hasattr(error, "narrowcast_seen"):  # callers further up the stack must not try again
                error.narrowcast_seen = True  # type: ignore[attr-defined]
                _let_refuse(fn, *args, **kwargs)
            raise

    return call


def _let_refuse(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        fn(*args, **kwargs)
    except NarrowcastError:
        raise
    except Exception:
        return  # not refused but broken: the type error says it better
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
