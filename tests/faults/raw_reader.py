"""A reader of `.out` that shares no code with chatrt: a socket, the bytes that came, and the whole events in them."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Event(NamedTuple):
    """A record as a client has it."""

    seq: int
    kind: str
    data: str

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.data)


def whole_events(response: bytes) -> list[Event]:
    """The events that are complete in a response to a GET of `.out`, wherever it was cut; an error is none."""
    head, found, body = response.partition(b"\r\n\r\n")
    if not found:
        return []
    status = int(head.split(b" ", 2)[1])
    assert status == 200, response
    events = []
    *blocks, _cut = _dechunk(body).split(b"\n\n")
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if line and not line.startswith(":"))
        if "id" in fields:
            events.append(Event(int(fields["id"]), fields.get("event", "chunk"), fields["data"]))
    return events


def _dechunk(body: bytes) -> bytes:
    data = b""
    while True:
        size, found, body = body.partition(b"\r\n")
        if not found or not size or int(size, 16) == 0:
            return data
        count = int(size, 16)
        data += body[:count]
        body = body[count + 2 :]


@dataclass
class RawReader:
    """Reads a session's records over any number of connections, each from the last whole event on.

    Attributes:
        port: Where the server or a proxy before it is.
        chat: The session.
        token: What it authenticates with, if it has to.
        events: What was accepted, over all connections.
        connections: How many there were.
    """

    port: int
    chat: str
    host: str = "127.0.0.1"
    token: str = ""
    events: list[Event] = field(default_factory=list)
    connections: int = 0
    beats: int = 0

    @property
    def cursor(self) -> int:
        return self.events[-1].seq if self.events else 0

    @property
    def text(self) -> str:
        """All deltas of text that were read."""
        deltas = (event.body for event in self.events if event.kind == "chunk")
        return "".join(body["delta"] for body in deltas if body["type"] == "text-delta")

    @property
    def completed(self) -> list[int]:
        """The inputs whose turns were read to their end."""
        return [event.body["inSeq"] for event in self.events if event.kind == "turn-complete"]

    def read(self, *, until_idle: bool = True, silence: float = 10.0, turns: int | None = None) -> str:
        """Read over one connection until it ends; tells how it did: `end`, `reset`, `silence`, `refused` or `turns`.

        Args:
            until_idle: Ask the server to end the stream when nothing is left to do.
            silence: The most seconds without a byte.
            turns: Leave when this many turns were read to their end.
        """
        query = "?until=idle" if until_idle else ""
        request = (
            f"GET /v1/sessions/{self.chat}/out{query} HTTP/1.1\r\nhost: {self.host}\r\n"
            f"accept: text/event-stream\r\nconnection: close\r\nlast-event-id: {self.cursor}\r\n"
            + (f"authorization: Bearer {self.token}\r\n\r\n" if self.token else "\r\n")
        )
        self.connections += 1
        before, response = list(self.events), b""
        try:
            with socket.create_connection((self.host, self.port), silence) as connection:
                connection.sendall(request.encode())
                while True:
                    try:
                        data = connection.recv(65_536)
                    except TimeoutError:
                        return "silence"
                    if not data:
                        return "end"
                    self.beats += data.count(b"\n:") + data.startswith(b":")
                    response += data
                    self.events = before + whole_events(response)
                    if turns is not None and len(self.completed) >= turns:
                        return "turns"
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "reset"

    def read_turns(self, turns: int, *, seconds: float = 20.0, silence: float = 10.0) -> None:
        """Read over as many connections as it takes until this many turns have ended."""
        end = time.monotonic() + seconds
        while len(self.completed) < turns:
            assert time.monotonic() < end, (self.connections, self.events[-3:])
            if self.read(until_idle=False, silence=silence, turns=turns) == "refused":
                time.sleep(0.01)

    def assert_contiguous(self, first: int = 1) -> None:
        """No gap, no repeat, no other order."""
        assert [event.seq for event in self.events] == list(range(first, first + len(self.events)))
