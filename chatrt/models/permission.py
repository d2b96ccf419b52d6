"""Whether real models may be called here: tests forbid it, so that none of them pays a provider by accident."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from chatrt.errors import ModelCallForbiddenError

FORBID_VARIABLE = "CHATRT_FORBID_MODEL_CALLS"
"""Set to anything but nothing, `0`, `false` or `no`, this environment variable forbids real model calls."""

_ALLOWING = frozenset({"", "0", "false", "no"})

_switches: list[tuple[object, bool]] = []  # the last one holds, in every task and thread of the process


@contextmanager
def forbid_model_calls() -> Generator[None]:
    """Forbid real model calls in this process for the length of a `with` block.

    A call then fails with `ModelCallForbiddenError` before anything is sent. Models that need no network
    (`ScriptedModel`, `FunctionModel`) are not touched. Blocks may be nested; the one entered last holds.
    """
    with _switch(allowed=False):
        yield


@contextmanager
def allow_model_calls() -> Generator[None]:
    """Allow real model calls again for the length of a `with` block, whatever surrounds it."""
    with _switch(allowed=True):
        yield


def check_model_call(name: str) -> None:
    """Let a real model be called, or not.

    Raises:
        ModelCallForbiddenError: If that is forbidden here.
    """
    allowed = _switches[-1][1] if _switches else os.environ.get(FORBID_VARIABLE, "").lower() in _ALLOWING
    if not allowed:
        raise ModelCallForbiddenError(name)


@contextmanager
def _switch(*, allowed: bool) -> Generator[None]:
    switch = (object(), allowed)
    _switches.append(switch)
    try:
        yield
    finally:
        _switches.remove(switch)  # not always the last one: blocks of two tasks may overlap
