"""The conversations that lead to failpoints; each says what it says, whatever happens to the server meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

import pytest

from tests.faults.faulty_client import Client, RefusedError


class Stage(Protocol):
    """What a conversation may do beside talking."""

    client: Client

    def freeze(self) -> None:
        """Stop the process that serves, until another one has taken over."""
        ...

    def signal(self, what: signal.Signals) -> None:
        """Send the process that serves a signal."""
        ...

    def wait_until_fired(self) -> None:
        """Wait until the first fault has acted that is still to come."""
        ...


def text(stage: Stage) -> None:
    """Say one thing."""
    stage.client.wait_for(stage.client.say("words 12"))


def long(stage: Stage) -> None:
    """Ask for an answer that is longer than the time between two renewals."""
    stage.client.wait_for(stage.client.say("words 70"))


def idle(stage: Stage) -> None:
    """Say one thing, and then nothing until the run leaves."""
    text(stage)
    stage.wait_until_fired()


def lost(stage: Stage) -> None:
    """Say one thing to a process that sleeps over it until another one has answered."""
    seq = stage.client.say("wait")
    stage.client.wait_for_start(seq)  # from then on that process holds the lease
    stage.freeze()
    stage.client.wait_for(seq)
    stage.signal(signal.SIGCONT)
    stage.wait_until_fired()


def queued(stage: Stage) -> None:
    """Say two things at once."""
    client = stage.client
    seqs = [client.say("words 12"), client.say("words 6")]
    for seq in seqs:
        client.wait_for(seq)


def action(stage: Stage) -> None:
    """Say one thing, and then act."""
    text(stage)
    stage.client.wait_for(stage.client.act())


def stop(stage: Stage) -> None:
    """Stop an answer."""
    client = stage.client
    seq = client.say("words 400")
    client.wait_for_words(4)
    client.stop(seq)
    client.wait_for(seq)


def trim(stage: Stage) -> None:
    """Say three things, one after another: the end of the third takes the first one's records away."""
    for _ in range(3):
        stage.client.wait_for(stage.client.say("words 8"))


def steered(stage: Stage) -> None:
    """Put a message into an answer that runs, between two of its steps."""
    client = stage.client
    first = client.say("pure slow")
    client.wait_for_chunk("tool-input-available")
    second = client.say("words 4", steer=True)
    for seq in (first, second):
        client.wait_for(seq)


def changed(stage: Stage) -> None:
    """Change one message that waits, and take another one back."""
    client = stage.client
    client.say("words 30")
    second, third, last = client.say("words 3"), client.say("words 5"), client.say("words 4")
    client.edit(second, "words 2")
    client.withdraw(third)
    client.wait_for(last)  # who is slow may be told of a gap up to there: of the log the last two turns are kept


def anew(stage: Stage) -> None:
    """Ask for another answer in place of the first one."""
    text(stage)
    stage.client.wait_for(stage.client.regenerate())


def _call(name: str) -> Callable[[Stage], None]:
    def talk(stage: Stage) -> None:
        stage.client.wait_for(stage.client.say(f"{name} it"))

    return talk


def approval(stage: Stage) -> None:
    """Ask for a call that a person must allow, and allow it."""
    client = stage.client
    client.wait_for(client.say("guarded it"))
    try:
        client.wait_for(client.allow())
    except StopIteration:
        # The turn ended before anybody was asked: then nothing waits, and nothing ran.
        assert not any(one.get("approval") for message in client.messages() for one in message["parts"])


def close(stage: Stage) -> None:
    """Close the chat after one answer; nothing can be said to it then."""
    text(stage)
    stage.client.close_chat()
    with pytest.raises(RefusedError) as refused:
        stage.client.say("words 1")
    assert refused.value.status == 409


def shutdown(stage: Stage) -> None:
    """End the process in good order in the middle of an answer."""
    client = stage.client
    seq = client.say("words 60")
    client.wait_for_words(4)
    stage.signal(signal.SIGTERM)
    client.wait_for(seq)


def start(stage: Stage) -> None:
    """Nothing but what every conversation begins with: the store is new."""
    text(stage)


TALKS: dict[str, Callable[[Stage], None]] = {
    "text": text,
    "long": long,
    "idle": idle,
    "lost": lost,
    "queued": queued,
    "action": action,
    "stop": stop,
    "steered": steered,
    "changed": changed,
    "anew": anew,
    "trim": trim,
    "pure": _call("pure"),
    "idempotent": _call("idempotent"),
    "unsafe": _call("unsafe"),
    "approval": approval,
    "close": close,
    "shutdown": shutdown,
    "start": start,
}
