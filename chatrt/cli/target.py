"""What a command is to run: `module:attr` or `path/to/file.py[:attr]`, found and loaded."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from starlette.applications import Starlette

from chatrt.agent import ChatAgent
from chatrt.errors import UsageError


@dataclass(frozen=True, slots=True)
class Target:
    """What was found: agents, or an ASGI application (then `agents` are those it serves, if it says so)."""

    name: str
    agents: list[ChatAgent]
    app: Any = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where a target is: a module's name or a file, and an attribute; an empty one is looked for."""

    text: str
    module: str
    file: Path | None
    attribute: str

    @property
    def folder(self) -> Path:
        """The folder that its code is in, or is imported from."""
        return self.file.parent if self.file is not None else Path.cwd()


def locate(text: str) -> Location:
    """Read a target without running anything of it.

    Raises:
        UsageError: If it is not written as a target, or the file is not there.
    """
    place, _, attribute = text.rpartition(":") if ":" in text else (text, "", "")
    if attribute and not attribute.replace(".", "").isidentifier():
        raise UsageError(f"{text!r} is no target: write module:attr or path/to/file.py:attr")
    if place.endswith(".py"):
        file = Path(place).resolve()
        if not file.is_file():
            raise UsageError(f"there is no file {place}")
        return Location(text, file.stem, file, attribute)
    if not all(name.isidentifier() for name in place.split(".")):
        raise UsageError(f"{text!r} is no target: write module:attr or path/to/file.py:attr")
    return Location(text, place, None, attribute)


def load(text: str) -> Target:
    """Import a target.

    Raises:
        UsageError: If it cannot be imported, or is not what can be run.
    """
    location = locate(text)
    module = _import(location)
    value = _attribute(location, module) if location.attribute else _only_one(location, module)
    return _to_target(location, value)


def _import(location: Location) -> ModuleType:
    sys.path.insert(0, str(location.folder))
    try:
        if location.file is None:
            return importlib.import_module(location.module)
        spec = importlib.util.spec_from_file_location(location.module, location.file)
        if spec is None or spec.loader is None:
            raise UsageError(f"{location.file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        # Pydantic and pickles look a class's module up by its name.
        sys.modules[location.module] = module
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (location.module + ".").startswith(error.name + "."):
            raise UsageError(f"there is no module {error.name!r} (looked in {location.folder} and sys.path)") from None
        raise UsageError(_explain(location, error)) from error
    except Exception as error:
        raise UsageError(_explain(location, error)) from error
    return module


def _explain(location: Location, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = next(
        (f" ({frame.filename}:{frame.lineno})" for frame in reversed(frames) if "importlib" not in frame.filename), ""
    )
    return f"{location.text} cannot be imported: {type(error).__name__}: {error}{where}"


def _attribute(location: Location, module: ModuleType) -> Any:
    value: Any = module
    for name in location.attribute.split("."):
        if not hasattr(value, name):
            raise UsageError(f"{location.module} has no {location.attribute!r}{_suggest(module)}")
        value = getattr(value, name)
    return value


def _only_one(location: Location, module: ModuleType) -> Any:
    """The only app of a module, or else its only agent: where there is an app it serves the agents beside it."""
    for kind, word in ((Starlette, "apps"), (ChatAgent, "agents")):
        found = _named(module, kind)
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            names = ", ".join(f"{location.text}:{name}" for name in found)
            raise UsageError(f"{location.text} has several {word}; name one: {names}")
    raise UsageError(f"{location.text} has neither an agent nor an app")


def _named(module: ModuleType, kind: type) -> dict[str, Any]:
    found: dict[int, str] = {}
    for name, value in vars(module).items():
        if isinstance(value, kind):
            found.setdefault(id(value), name)
    return {name: getattr(module, name) for name in found.values()}


def _suggest(module: ModuleType) -> str:
    names = [*_named(module, Starlette), *_named(module, ChatAgent)]
    return f"; it has {', '.join(names)}" if names else ""


def _to_target(location: Location, value: Any) -> Target:
    match value:
        case ChatAgent():
            return Target(location.text, [value])
        case [_, *_] if all(isinstance(agent, ChatAgent) for agent in value):
            return Target(location.text, list(cast("Sequence[ChatAgent]", value)))
        case _ if callable(value) and not isinstance(value, type):
            sessions = getattr(getattr(value, "state", None), "sessions", None)
            return Target(location.text, [] if sessions is None else [*sessions.agents.values()], value)
        case _:
            raise UsageError(
                f"{location.text} is a {type(value).__name__}, not a ChatAgent, a list of them, or an ASGI app"
            )
