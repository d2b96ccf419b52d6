"""Two real servers on one database, one of them cut off from it: it says so, keeps its readers and serves again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.faults.database_line import HOLES, TTL, WRITE_SECONDS, through
from tests.faults.proxy import FaultProxy
from tests.faults.raw_reader import RawReader
from tests.served import Server

APP = "tests.faults.line_app:app"


@pytest.fixture
def proxy(database_proxy) -> FaultProxy:
    """The line that is hurt."""
    return database_proxy


@pytest.fixture
def servers(proxy, direct, tmp_path) -> Iterator[tuple[Server, Server]]:
    """Two processes on one database, the first through the proxy."""
    made = []
    for name, url in (("first", through(proxy, direct)), ("second", direct)):
        (tmp_path / name).mkdir()
        made.append(Server(APP, tmp_path / name, CHATRT_STORE=url, CHATRT_LEASE_TTL="1"))
        made[-1].start()
    yield made[0], made[1]
    proxy.heal()
    for server in made:
        server.kill()


def say(server: Server, chat: str, number: int, text: str) -> httpx.Response:
    """Append a message under a key of its own."""
    said = {"id": f"user-{number}", "role": "user", "parts": [{"type": "text", "text": text}]}
    url, headers = f"{server.url}/v1/sessions/{chat}/in", {"idempotency-key": f"{chat}-{number}"}
    return httpx.post(url, json={"kind": "message", "message": said}, headers=headers, timeout=20)


def timed(call, *arguments) -> tuple[Any, float]:
    """Call, and tell how long it took."""
    began = time.monotonic()
    return call(*arguments), time.monotonic() - began


def say_until_taken(server: Server, chat: str, number: int, text: str) -> int:
    """Append until it is acknowledged; returns its seq."""
    end = time.monotonic() + 10
    while (answer := say(server, chat, number, text)).status_code != 202:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < end
    return answer.json()["seq"]


@pytest.mark.parametrize("how", [*HOLES, "refused"])
def test_a_server_that_is_cut_off(proxy, servers, how):
    """A server cut off from the database acknowledges nothing and says so within two seconds; its readers stay, with
    heartbeats, and get everything when the line is back, without a restart."""
    cut_off, other = servers
    httpx.post(f"{other.url}/v1/sessions", json={"agent": "playbook", "chatId": "c"}).raise_for_status()
    assert say(cut_off, "c", 1, "echo one").status_code == 202
    reader = RawReader(cut_off.port, "c")
    reader.read_turns(1)
    reading = threading.Thread(target=reader.read, kwargs={"until_idle": False, "turns": 4, "silence": 5.0})
    beats = reader.beats
    reading.start()
    while reader.beats == beats:  # it is let in, and waits
        time.sleep(0.01)
    if how == "refused":
        proxy.refuse()
        proxy.reset()
    else:
        HOLES[how](proxy)
    with ThreadPoolExecutor() as together:
        outcomes = list(together.map(lambda chat: timed(say, cut_off, chat, 2, "echo two"), ("c", "c", "unknown")))
    took = [seconds for _, seconds in outcomes]
    for refused, _ in outcomes:
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store-unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    beats = reader.beats
    assert say(other, "c", 3, "echo three").status_code == 202
    there = RawReader(other.port, "c")
    there.read_turns(2)
    while reader.beats < beats + 3:
        assert reading.is_alive(), "the reader was thrown out"
        time.sleep(0.01)
    proxy.heal()
    began = time.monotonic()
    seq = say_until_taken(cut_off, "c", 2, "echo two")
    again = time.monotonic() - began
    while len(reader.completed) < 3:  # the log keeps the last two turns, so nothing new before it is here
        assert time.monotonic() - began < 5
        time.sleep(0.01)
    caught_up = time.monotonic() - began
    assert say_until_taken(cut_off, "c", 2, "echo two") == seq
    say_until_taken(other, "c", 4, "echo four")
    reading.join(15)
    connections = reader.connections
    print(f"{how}: 503 after {', '.join(f'{seconds:.2f}' for seconds in took)} s; back {again:.2f} s and")
    print(f"readers {caught_up:.2f} s after the line")
    assert max(took) < WRITE_SECONDS + 0.8
    assert len(reader.completed) == 4
    assert connections == 2, "one for the first answer, one for all that came then"
    reader.assert_contiguous()
    messages = httpx.get(f"{other.url}/v1/sessions/c/messages").json()["messages"]
    assert sorted(one["id"] for one in messages if one["role"] == "user") == [f"user-{n}" for n in (1, 2, 3, 4)]


def test_a_server_that_is_cut_off_in_mid_answer(proxy, servers):
    """The turn of a server that is cut off is ended by another one in time; both readers have the same log."""
    cut_off, other = servers
    other.kill()  # until it is clear who answers
    httpx.post(f"{cut_off.url}/v1/sessions", json={"agent": "playbook", "chatId": "c"}).raise_for_status()
    say(cut_off, "c", 1, "sleep").raise_for_status()
    readers = [RawReader(server.port, "c") for server in servers]
    other.start()
    threads = [threading.Thread(target=reader.read_turns, args=(2,)) for reader in readers]
    for thread in threads:
        thread.start()
    while any(len(reader.events) < 5 for reader in readers):
        time.sleep(0.01)
    proxy.black_hole()
    began = time.monotonic()
    while not readers[1].completed:
        assert time.monotonic() - began < 10, readers[1].events[-1]
        time.sleep(0.01)
    took = time.monotonic() - began
    assert not readers[0].completed
    proxy.heal()
    say_until_taken(cut_off, "c", 2, "echo back")
    for thread in threads:
        thread.join(20)
    print(f"ended by the other one after {took:.2f} s with a lease of {TTL} s")
    assert took < TTL + 2.0
    assert readers[0].events == readers[1].events
    for reader in readers:
        reader.assert_contiguous()
        assert reader.completed == [1, 2]
    assert readers[0].connections == readers[1].connections == 1
