"""What people test with: a harness for agents, conformance suites, and models and clocks that do as told.

Every name is looked up when it is first used: pytest loads the plugin of this package in every run, also where nothing
is tested with it. Types are in `__init__.pyi`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ManualClock": "chatrt.clock",
    "CountingIds": "chatrt.ids",
    "ScriptedModel": "chatrt.models.scripted",
    "FunctionModel": "chatrt.models.function",
    "allow_model_calls": "chatrt.models.permission",
    "forbid_model_calls": "chatrt.models.permission",
    "override_model": "chatrt.models.resolve",
    "Gate": "chatrt.testing.gate",
    "ChatHarness": "chatrt.testing.harness",
    "Reader": "chatrt.testing.reading",
    "SentInput": "chatrt.testing.reading",
    "TurnResult": "chatrt.testing.reading",
    "LogRecord": "chatrt.testing.watched_store",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
