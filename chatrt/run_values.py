"""The values that locals have in one run: made when they are asked for, restored, compared, written with commits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chatrt import codec
from chatrt.errors import UnstorableLocalError

logger = logging.getLogger("chatrt.runtime")

MAX_BYTES = 1024 * 1024
"""What one durable value may take as JSON; all of them are written with every commit."""

_LIMITS = codec.Limits(bytes=MAX_BYTES, nodes=100_000)

UNSET: Any = object()
"""The value of a local that was reset."""


class LocalDeclaration:
    """What there is to know of a local without a run; `chatrt.run_locals.Local` is what application code has of it.

    Attributes:
        id: Its name, also in the store.
        durable: Whether it survives the run.
        default: Makes the value of a run that nobody gave one.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - as in `local`
        kind: Any,
        *,
        default: Callable[[], Any] | None = None,
        durable: bool = False,
    ) -> None:
        """Declare one.

        Raises:
            PydanticUserError: If it is durable and pydantic refuses the type `kind`.
        """
        self.id = id
        self.durable = durable
        self.default = default
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind if durable else Any)

    def __repr__(self) -> str:
        return f"Local({self.id!r})"

    def encode(self, value: Any, proven: bytes | None = None) -> bytes:
        """Return a value of a durable local as JSON that `decode` reads.

        Args:
            value: The value.
            proven: What this gave last time; if it is the same again it needs no other look.

        Raises:
            UnstorableLocalError: If there is no such JSON.
        """
        try:
            data = self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
            if data == proven:
                return data
            codec.load_checked(data, _LIMITS)
            # What cannot be read again is found now, with the turn that made it, not by the run that needs it.
            self.decode(data)
        except Exception as error:
            raise UnstorableLocalError(self.id, _reason(error)) from error
        return data

    def decode(self, data: bytes) -> Any:
        """Read what `encode` wrote.

        Raises:
            Exception: If it does not fit the type: a ValidationError, or what a validator of the type raised.
        """
        return self._adapter.validate_json(data, by_alias=True, by_name=True)


@dataclass(slots=True)
class Slot:
    """The value of one local.

    Attributes:
        local: The local.
        value: Its value; `UNSET` after a reset.
        given: Whether somebody gave it; a default makes room for `init`.
        changed: Whether it was set since `changed` was asked.
        asked: What would have been stored when `changed` was asked last; None if it could not be, or is not durable.
        proven: What `encode` gave last.
    """

    local: LocalDeclaration
    value: Any
    given: bool = True
    changed: bool = False
    asked: bytes | None = None
    proven: bytes | None = None

    @classmethod
    def begun(cls, local: LocalDeclaration, value: Any, *, given: bool = True) -> Slot:
        """Make a slot whose value counts as unchanged."""
        slot = cls(local, value, given)
        slot.asked = slot.find_encoded()
        return slot

    @property
    def is_durable(self) -> bool:
        """Whether its value is one to store."""
        return self.local.durable and self.value is not UNSET

    def encode(self) -> bytes:
        """Return what would be stored.

        Raises:
            UnstorableLocalError: If there is no such thing.
        """
        self.proven = self.local.encode(self.value, self.proven)
        return self.proven

    def find_encoded(self) -> bytes | None:
        """Return what would be stored, if there is such a thing."""
        if not self.is_durable:
            return None
        try:
            return self.encode()
        except UnstorableLocalError:
            return None


@dataclass(frozen=True, slots=True)
class ValuesCheckpoint:
    """The durable values at one moment; made by `LocalValues.checkpoint`."""

    slots: dict[str, tuple[Slot, bytes | None]]


class LocalValues:
    """The values of one run.

    Args:
        stored: The durable ones as `to_json` gave them.
        given: Values that hold in spite of what is stored; left out, those of the calling code, see `given_values`.
        of_run: Whether this belongs to a run.
    """

    def __init__(
        self,
        stored: Mapping[str, Any] | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        of_run: bool = True,
    ) -> None:
        self.of_run = of_run
        self._stored = dict(stored or {})
        self._given = given_values.get() if given is None else given
        self._misfits: set[str] = set()
        self._slots: dict[str, Slot] = {}

    # --- what a local does

    def find(self, local: LocalDeclaration) -> Slot | None:
        """Return the slot of a local that has a value, made now if need be."""
        slot = self._slots.get(local.id) or self._make(local)
        if slot is not None and slot.value is UNSET and local.default is not None:
            slot.value = local.default()
        return None if slot is None or slot.value is UNSET else slot

    def put(self, local: LocalDeclaration, value: Any) -> None:
        """Set a value, or `UNSET` to have none."""
        before = self.find(local)
        asked = None if before is None else before.asked
        self._slots[local.id] = Slot(local, value, given=value is not UNSET, changed=True, asked=asked)

    def begin(self, local: LocalDeclaration, value: Any) -> Any:
        """Set a value unless one was given; returns the one that holds."""
        slot = self.find(local)
        if slot is None or not slot.given:
            slot = self._slots[local.id] = Slot.begun(local, value)
        return slot.value

    def ask(self, local: LocalDeclaration) -> bool:
        """Whether it changed since this was asked."""
        slot = self.find(local) or self._slots.get(local.id)
        if slot is None:
            return False
        encoded = slot.find_encoded()
        changed = slot.changed or encoded != slot.asked
        slot.changed, slot.asked = False, encoded
        return changed

    def _make(self, local: LocalDeclaration) -> Slot | None:
        """Make the slot of a local that nobody touched in this run."""
        if local.id in self._given:
            slot = Slot.begun(local, self._given[local.id])
        elif (restored := self._restore(local)) is not None:
            slot = restored
        elif local.default is not None:
            slot = Slot.begun(local, local.default(), given=False)
        else:
            return None
        return self._slots.setdefault(local.id, slot)  # a tool in a thread may have been faster

    def _restore(self, local: LocalDeclaration) -> Slot | None:
        if not local.durable or local.id not in self._stored or local.id in self._misfits:
            return None
        try:
            return Slot.begun(local, local.decode(codec.dumps(self._stored[local.id])))
        except Exception as error:
            self._misfits.add(local.id)
            logger.warning("what is stored of local %r does not fit its type any more: %s", local.id, _reason(error))
            return None

    # --- what the runtime does

    def find_unstorable(self) -> UnstorableLocalError | None:
        """Say which durable value cannot be stored, if there is one."""
        for slot in list(self._slots.values()):
            try:
                if slot.is_durable:
                    slot.encode()
            except UnstorableLocalError as error:
                return error
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the durable values as JSON, by the ids of their locals.

        One that cannot be stored is as it was stored last, and one that nobody asked for stays as it is.
        """
        result = dict(self._stored)
        for slot in list(self._slots.values()):
            try:
                if slot.is_durable:
                    result[slot.local.id] = codec.loads(slot.encode())
                elif slot.local.durable:
                    result.pop(slot.local.id, None)
            except UnstorableLocalError as error:
                logger.error("%s; it stays as it was stored", error)
        return result

    @property
    def have_changed(self) -> bool:
        """Whether the durable values are others than those that are stored."""
        return self.to_json() != self._stored

    def mark_saved(self, stored: Mapping[str, Any]) -> None:
        """Say that the store holds what `to_json` gave."""
        self._stored = dict(stored)

    def forget_changes(self) -> None:
        """Make the durable values what is stored."""
        self._slots = {key: slot for key, slot in self._slots.items() if not slot.local.durable}

    def checkpoint(self) -> ValuesCheckpoint:
        """Return the durable values as they are, for `restore`."""
        slots = {key: (replace(slot), slot.find_encoded()) for key, slot in self._slots.items() if slot.local.durable}
        return ValuesCheckpoint(slots)

    def restore(self, checkpoint: ValuesCheckpoint) -> None:
        """Undo everything since `checkpoint` in the durable values, also what happened inside of them (D20)."""
        self.forget_changes()
        for key, (slot, encoded) in checkpoint.slots.items():
            if encoded is not None and slot.find_encoded() != encoded:
                slot.value = slot.local.decode(encoded)
            self._slots[key] = slot


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'/'.join(str(step) for step in first['loc'])}: {first['msg']}".removeprefix(": ")


given_values: ContextVar[Mapping[str, Any]] = ContextVar("chatrt_given_values", default=MappingProxyType({}))
"""What holds in every run that starts here, in spite of what is stored; by the ids of the locals."""

current_values: ContextVar[LocalValues | None] = ContextVar("chatrt_local_values", default=None)
"""Where locals look."""


def enter_values(values: LocalValues | None) -> None:
    """Let locals have these values in the calling task and the tasks it starts."""
    current_values.set(values)
