"""Values of application code that belong to one run: declared at module scope, one value for each run.

    budget = local("budget", Budget, default=Budget, durable=True)

    @agent.on_turn_start
    async def count(event):
        budget.get().turns += 1

A durable value is committed with every turn and action, as it stands then, and is there again in the next run, whoever
serves it. Any other value lives as long as the run is in memory: a suspended chat comes back without it, and `on_boot`,
which fires again then, is the place to give it anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import Any, Generic, TypeVar, cast, overload
from weakref import WeakValueDictionary

from pydantic import PydanticUserError

from chatrt.errors import UsageError
from chatrt.run_values import UNSET, LocalDeclaration, LocalValues, current_values, given_values

T = TypeVar("T")


class Local(LocalDeclaration, Generic[T]):
    """A value of which every run has its own; made by `local`.

    Everything here raises `UsageError` outside of a run, unless `local_values` gives values there.

    Attributes:
        declared_by: The code that declared it; None if that is unknown.
    """

    declared_by: CodeType | None = None

    def get(self) -> T:
        """Return the value of this run: the object itself, not a copy.

        Raises:
            UsageError: If it has none: nobody gave it one, and it was declared without a default.
        """
        slot = _values().find(self)
        if slot is None:
            raise UsageError(f"local {self.id!r} has no value yet: give it one in on_boot with init, or a default")
        return cast("T", slot.value)

    def set(self, value: T) -> None:
        """Put another value in its place."""
        _values().put(self, value)

    def init(self, value: T) -> T:
        """Give the value to begin with, in `on_boot` usually, and return the one that holds.

        One that is there already stays: restored, set before, or given by `local_values`. A default makes room.
        """
        return cast("T", _values().begin(self, value))

    def changed(self) -> bool:
        """Whether it was changed since this was asked last, or since it had the value to begin with.

        `set` and `reset` count in any case. What happens inside of a value is seen of a durable one only: what would be
        stored is compared.
        """
        return _values().ask(self)

    def reset(self) -> None:
        """Forget the value: the default again, or none. What is stored of a durable one goes with the next commit."""
        _values().put(self, UNSET)


@overload
def local(
    id: str,
    kind: type[T],
    *,
    default: Callable[[], T] | None = None,
    durable: bool = False,
) -> Local[T]: ...
@overload
def local(
    id: str,
    kind: Any,
    *,
    default: Callable[[], Any] | None = None,
    durable: bool = False,
) -> Local[Any]: ...
def local(
    id: str,  # noqa: A002 - the public name is fixed
    kind: Any,
    *,
    default: Callable[[], Any] | None = None,
    durable: bool = False,
) -> Local[Any]:
    """Declare a value of which every run has its own; at module scope, once.

    Args:
        id: Its name. A module that is loaded again declares its own again; what is stored is found by this name.
        kind: The type of the value; of a durable one, a type that pydantic can validate and write as JSON.
        default: Makes the value of a run that nobody gave one.
        durable: Whether the value is committed with every turn and action and restored in the next run. One that cannot
            be written as JSON fails the turn with `UnstorableLocalError`, and all durable values go back to what is
            stored. What is stored and no longer fits the type is logged and left out: the default holds, or `init`.

    Raises:
        UsageError: If another one of that id is declared, or it has no id, or pydantic refuses the type of a durable
            one.
    """
    if not id:
        raise UsageError("a local needs an id")
    frame = inspect.currentframe()
    declared_by = frame.f_back.f_code if frame is not None and frame.f_back is not None else None
    del frame  # it would hold what is declared here, in a circle
    known = _declared.get(id)
    if known is not None and not _is_loaded_again(known.declared_by, declared_by):
        raise UsageError(f"two locals are called {id!r}")
    try:
        made: Local[Any] = Local(id, kind, default=default, durable=durable)
    except PydanticUserError as error:
        raise UsageError(f"local {id!r} cannot be durable: {error}") from error
    made.declared_by = declared_by
    _declared[id] = made
    return made


@contextmanager
def local_values(values: Mapping[Local[Any], Any]) -> Generator[None]:
    """Give locals their values, for tests: in code called here, and in every run that starts inside of the block.

    A value given here stays in spite of `init` and of what is stored; `set` replaces it, for its run only.

    Raises:
        UsageError: Inside of a run.
    """
    current = current_values.get()
    if current is not None and current.of_run:
        raise UsageError("local_values is for tests; inside of a run a local is set")
    given = {**given_values.get(), **{local.id: value for local, value in values.items()}}
    given_before = given_values.set(given)
    before = current_values.set(LocalValues(given=given, of_run=False))
    try:
        yield
    finally:
        current_values.reset(before)
        given_values.reset(given_before)


def _values() -> LocalValues:
    values = current_values.get()
    if values is None:
        raise UsageError("a local has a value inside of a run; a test gives it one with local_values")
    return values


def _is_loaded_again(before: CodeType | None, now: CodeType | None) -> bool:
    """Whether the same file was executed once more: each time it is other code of the same name."""
    return before is not None and now is not None and before is not now and before.co_filename == now.co_filename


_declared: WeakValueDictionary[str, Local[Any]] = WeakValueDictionary()
