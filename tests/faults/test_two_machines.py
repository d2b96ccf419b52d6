"""Two machines and a database, and the cable between one of them and the database is pulled in mid-answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from chatrt.ids import RandomIds
from tests.faults.network import Network
from tests.faults.proxy import FaultProxy
from tests.faults.raw_reader import RawReader
from tests.postgres import PostgresServer
from tests.served import Server

APP = "tests.faults.line_app:app"
KEY = "two-machines-0123456789abcdef0123456789"
TTL = 2.0


@dataclass
class Machines:
    """Two servers on one database.

    Attributes:
        cut: Pulls the cable between the first one and the database; clients still reach both.
        mend: Plugs it in again.
    """

    first: Server
    second: Server
    cut: Callable[[], None]
    mend: Callable[[], None]

    def reader(self, server: Server, **options) -> RawReader:
        host = httpx.URL(server.url).host
        return RawReader(server.port, "c", host=host, token=KEY, **options)

    def post(self, server: Server, path: str, body: dict, **headers: str) -> httpx.Response:
        headers["authorization"] = f"Bearer {KEY}"
        return httpx.post(f"{server.url}/v1/sessions{path}", json=body, headers=headers, timeout=20)

    def say(self, server: Server, number: int, text: str) -> httpx.Response:
        said = {"id": f"user-{number}", "role": "user", "parts": [{"type": "text", "text": text}]}
        return self.post(server, "/c/in", {"kind": "message", "message": said}, **{"idempotency-key": f"{number}"})

    def messages(self, server: Server) -> list[dict]:
        url, headers = f"{server.url}/v1/sessions/c/messages", {"authorization": f"Bearer {KEY}"}
        return httpx.get(url, headers=headers, timeout=10).raise_for_status().json()["messages"]


def _server(folder: Path, name: str, store: str, host: str, prefix: list[str]) -> Server:
    (folder / name).mkdir()
    env = {"CHATRT_STORE": store, "CHATRT_HOST": host, "CHATRT_SECRET_KEY": KEY, "CHATRT_LEASE_TTL": f"{TTL:g}"}
    return Server(APP, folder / name, prefix=prefix, **env)


def _with_cables(folder: Path, stack: ExitStack) -> Machines:
    network = stack.enter_context(Network("a", "b"))
    database = PostgresServer(prefix=network.prefix("db"), trusted=network.trusted)
    stack.callback(database.remove)
    database.start()
    servers = [
        _server(
            folder,
            name,
            f"postgresql://postgres@{network.database_for(name)}:{database.port}/postgres",
            network.address(name),
            network.prefix(name),
        )
        for name in ("a", "b")
    ]
    return Machines(*servers, lambda: network.cut("a"), lambda: network.mend("a"))


def _with_proxies(folder: Path, stack: ExitStack, postgres: PostgresServer) -> Machines:
    direct = postgres.create_database(RandomIds().new("machines"))
    proxy = stack.enter_context(FaultProxy(postgres.port))
    urls = direct.replace(f":{postgres.port}/", f":{proxy.port}/"), direct
    servers = [
        _server(folder, f"m{host[-1]}", url, host, [])
        for url, host in zip(urls, ("127.0.0.2", "127.0.0.3"), strict=True)
    ]
    return Machines(*servers, proxy.black_hole, proxy.heal)


@pytest.fixture(params=["network namespaces", "two addresses"])
def machines(request, tmp_path, postgres) -> Iterator[Machines]:
    """Two machines with cables where that may be had; everywhere, two addresses of this one."""
    with ExitStack() as stack:
        if request.param == "network namespaces":
            made = _with_cables(tmp_path, stack)
        else:
            made = _with_proxies(tmp_path, stack, postgres)
        for server in (made.first, made.second):
            stack.callback(lambda server=server: server.kill() if server.running else None)
        yield made
        made.mend()


def until(true: Callable[[], object], seconds: float = 30.0) -> float:
    """Look again until it is so; returns how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.mark.timeout(90)
def test_a_machine_loses_its_database_in_mid_answer(machines):
    """The other machine takes over within the lease and two seconds and ends the answer once; a client of the first one
    that goes over to the other reads on without a gap; the first one refuses what it cannot store, writes nothing stale
    when the cable is back, and serves again without a restart."""
    first, second = machines.first, machines.second
    first.start()
    machines.post(first, "", {"agent": "playbook", "chatId": "c"}).raise_for_status()
    machines.say(first, 1, "sleep").raise_for_status()  # before there is a second one that could answer
    second.start()
    here, there = machines.reader(first), machines.reader(second)
    threads = [
        threading.Thread(target=reader.read, kwargs={"until_idle": False, "turns": 3, "silence": 5.0})
        for reader in (here, there)
    ]
    for thread in threads:
        thread.start()
    until(lambda: min(len(here.events), len(there.events)) > 5)

    machines.cut()
    taken_over = until(lambda: there.completed)
    refused = machines.say(first, 2, "echo meanwhile")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store-unavailable")
    assert threads[0].is_alive(), "the client's own line is whole: it is not thrown out"
    moved = machines.reader(second)
    moved.events = list(here.events)
    assert not moved.completed
    moved.read_turns(1)
    assert machines.say(second, 2, "echo meanwhile").status_code == 202
    until(lambda: len(there.completed) == 2)

    machines.mend()
    caught_up = until(lambda: len(here.completed) == 2)  # the log keeps the last two turns: nothing new before that
    back = caught_up + until(lambda: machines.say(first, 3, "echo back").status_code == 202)
    for thread in threads:
        thread.join(20)
    moved.read_turns(3)

    print(f"\ntaken over and ended after {taken_over:.2f} s with a lease of {TTL:g} s;")
    print(f"after the return serving again in {back:.2f} s, its readers up to date in {caught_up:.2f} s")
    assert taken_over < TTL + 2.0
    assert here.events == there.events == moved.events
    for reader in (here, there, moved):
        reader.assert_contiguous()
        assert reader.completed == [1, 2, 3]
    assert here.connections == there.connections == 1
    statuses = [event.body["status"] for event in there.events if event.kind == "turn-complete"]
    assert statuses == ["interrupted", "completed", "completed"]
    ended = next(place for place, event in enumerate(there.events) if event.kind == "turn-complete")
    late = [event for event in there.events[ended:] if event.kind == "chunk" and '"w' in event.data]
    assert not late, "what the first one still said is not written"
    assert [one["role"] for one in machines.messages(first)] == ["user", "assistant"] * 3
