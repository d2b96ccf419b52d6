"""Real processes on one PostgreSQL database: what a chat keeps when its worker is killed, frozen, stopped, or poisoned.

One process takes inputs and is read from (role `web`), and stays; the workers behind it come and go.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from chatrt.stores.postgres import migrate
from tests.faults.test_kill_server import Reader, Record
from tests.served import Server

TARGET = "tests/faults/worker_app.py:agents"
SLACK = 2.5
"""What a busy machine may add to a time that is measured here."""

pytestmark = pytest.mark.timeout(240)


class Process(Server):
    """A server with a role, on a store of the test's choice."""

    def __init__(self, folder: Path, store: str, *arguments: str, **env: str) -> None:
        folder.mkdir()
        super().__init__(TARGET, folder, **env)
        self._env["CHATRT_STORE"] = store
        self._command += arguments

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


class Place:
    """Processes on one store, and somebody who talks to the chats through one of them."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder, self._store = folder, store
        self.processes: list[Process] = []
        self.url = ""

    def open(self, role: str, *arguments: str, ttl: float = 2.0) -> Process:
        env = {"CHATRT_LEASE_TTL": str(ttl), "CHATRT_ROLE": role}
        process = Process(self._folder / f"p{len(self.processes)}", self._store, *arguments, **env)
        self.processes.append(process)
        process.start()
        if role != "worker":
            self.url = process.url
        return process

    def talk(self, text: str, chat: str = "chat", agent: str = "a") -> int:
        """Say something; returns its number."""
        httpx.post(f"{self.url}/v1/sessions", json={"agent": agent, "chatId": chat}, timeout=20).raise_for_status()
        message = {"role": "user", "parts": [{"type": "text", "text": text}]}
        said = httpx.post(f"{self.url}/v1/sessions/{chat}/in", json={"kind": "message", "message": message}, timeout=20)
        return int(said.raise_for_status().json()["seq"])

    def messages(self, chat: str = "chat") -> list[tuple[str, str]]:
        stored = httpx.get(f"{self.url}/v1/sessions/{chat}/messages", timeout=20).raise_for_status().json()["messages"]
        return [(m["role"], "".join(p["text"] for p in m["parts"] if p["type"] == "text")) for m in stored]

    def reader(self, chat: str = "chat") -> Reader:
        return Reader(f"{self.url}/v1/sessions/{chat}")

    def of_pid(self, pid: int) -> Process:
        return next(one for one in self.processes if one.process.pid == pid)

    def close(self) -> None:
        for one in self.processes:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.kill()


@pytest.fixture
async def place(tmp_path: Path, postgres_url: str) -> AsyncIterator[Place]:
    await migrate(postgres_url, to=0)
    await migrate(postgres_url)
    place = Place(tmp_path, postgres_url)
    yield place
    place.close()


async def until(reader: Reader, wanted: Callable[[list[Record]], Any], seconds: float = 60.0) -> Any:
    """Follow a chat until something is found in what was read."""
    following = asyncio.create_task(reader.follow())
    try:
        async with asyncio.timeout(seconds):
            while not (found := wanted(reader.records)):
                reader.news.clear()
                await reader.news.wait()
            return found
    finally:
        following.cancel()


def pid_of(records: list[Record]) -> int:
    """The process that answers last."""
    words = [r.body.get("delta", "") for r in records if r.kind == "chunk"]
    pids = [word for word in words if word.startswith("pid=")]
    return int(pids[-1][4:]) if pids else 0


def status_of(in_seq: int) -> Callable[[list[Record]], str | None]:
    def find(records: list[Record]) -> str | None:
        ends = [r.body for r in records if r.kind == "turn-complete" and r.body["inSeq"] == in_seq]
        return ends[-1]["status"] if ends else None

    return find


def check(records: list[Record], inputs: int) -> None:
    """The log has no hole, and each input one end."""
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [r.body["inSeq"] for r in records if r.kind == "turn-complete"] == list(range(1, inputs + 1))


# --- roles


async def test_a_worker_speaks_of_its_health_only(place: Place):
    """The HTTP of a worker is `/healthz`, `/readyz` and `/metrics`; chats are spoken to elsewhere."""
    worker = place.open("worker")
    statuses = {path: httpx.get(f"{worker.url}{path}").status_code for path in ("/healthz", "/readyz", "/metrics")}
    assert statuses == {"/healthz": 200, "/readyz": 200, "/metrics": 200}
    assert httpx.get(f"{worker.url}/v1/sessions").status_code == 404


# --- takeover


@pytest.mark.parametrize("ttl", [2.0, 10.0])
async def test_a_killed_worker_is_followed_in_time(place: Place, ttl: float):
    """What a worker that was killed leaves is closed by another one within its TTL and two seconds, and the chat goes on."""
    place.open("web", ttl=ttl)
    place.open("worker", ttl=ttl)
    place.open("worker", ttl=ttl)
    sent, reader = place.talk("60"), place.reader()
    pid = await until(reader, pid_of)
    place.of_pid(pid).kill()
    killed = time.monotonic()
    status = await until(reader, status_of(sent))
    took = time.monotonic() - killed
    again = place.talk("0")
    assert await until(reader, status_of(again)) == "completed"
    print(f"FIGURE takeover after kill -9, TTL {ttl:g}: {took:.2f} s")
    assert status == "interrupted"
    assert pid_of(reader.records) != pid
    assert took <= ttl + 2
    check(reader.records, 2)


async def test_a_frozen_worker_writes_nothing_and_joins_again(place: Place):
    """A worker that was frozen while another one took over writes nothing into the chat, and serves again."""
    place.open("web")
    first, second = place.open("worker"), place.open("worker")
    sent, reader = place.talk("60"), place.reader()
    frozen = place.of_pid(await until(reader, pid_of))
    frozen.process.send_signal(signal.SIGSTOP)
    assert await until(reader, status_of(sent)) == "interrupted"
    length = len(reader.records)
    frozen.process.send_signal(signal.SIGCONT)
    again = place.talk("1")
    assert await until(reader, status_of(again)) == "completed"
    assert reader.records[length].kind == "turn-start"
    assert pid_of(reader.records) != frozen.process.pid
    check(reader.records, 2)
    other = second if frozen is first else first
    other.stop()
    last = place.talk("0")
    assert await until(reader, status_of(last)) == "completed"
    assert pid_of(reader.records) == frozen.process.pid


# --- SIGTERM


async def test_a_worker_that_is_stopped_hands_over(place: Place):
    """At SIGTERM a chat that waits is free at once, and a turn that outlives the grace goes to another worker at once."""
    place.open("web", ttl=30.0)
    place.open("worker", "--grace", "2", ttl=30.0)
    place.open("worker", "--grace", "2", ttl=30.0)
    reader, idle = place.reader(), place.reader("idle")
    waiting = place.talk("0", "idle")
    assert await until(idle, status_of(waiting)) == "completed"
    sent = place.talk("60")
    pid = await until(reader, pid_of)
    leaving = place.of_pid(pid)
    leaving.process.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    status = await until(reader, status_of(sent))
    took = time.monotonic() - stopped - 2
    code = await asyncio.to_thread(leaving.process.wait, 30)
    exited = time.monotonic() - stopped
    again, spoke = place.talk("0", "idle"), time.monotonic()
    assert await until(idle, status_of(again)) == "completed"
    answered = time.monotonic() - spoke
    print(f"FIGURE hand-over at SIGTERM: {took:.2f} s after the grace, exit after {exited:.2f} s (grace 2)")
    print(f"FIGURE a chat that waited is answered elsewhere in {answered:.2f} s")
    assert (status, code) == ("interrupted", 0)
    assert took <= 1 + SLACK
    assert answered <= 1 + SLACK
    check(reader.records, 1)


async def test_a_turn_that_ends_within_the_grace_is_whole(place: Place):
    """A turn that needs less than the grace is not cut, though the grace is longer than its lease."""
    place.open("web")
    worker = place.open("worker")
    sent, reader = place.talk("4"), place.reader()
    await until(reader, pid_of)
    worker.process.send_signal(signal.SIGTERM)
    assert await until(reader, status_of(sent)) == "completed"
    assert await asyncio.to_thread(worker.process.wait, 30) == 0


async def test_open_streams_do_not_keep_a_server(place: Place):
    """At SIGTERM readiness is off and streams end at a record within a second; the exit code is 0 within 25 seconds."""
    server = place.open("all", "--grace", "3")
    sent = place.talk("60")
    async with httpx.AsyncClient(timeout=60) as http:
        begun = [asyncio.Event() for _ in range(20)]
        tails = [asyncio.create_task(_read_to_end(http, f"{server.url}/v1/sessions/chat/out", one)) for one in begun]
        await asyncio.gather(*(one.wait() for one in begun))
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        ready, codes = [], set[int]()
        while server.process.poll() is None and time.monotonic() - began < 2:
            try:
                ready.append((await http.get(f"{server.url}/readyz")).status_code)
                message = {"role": "user", "parts": [{"type": "text", "text": "0"}]}
                late = await http.post(
                    f"{server.url}/v1/sessions/chat/in", json={"kind": "message", "message": message}
                )
                codes.add(late.status_code)
                if late.status_code == 503:
                    assert "retry-after" in late.headers
            except httpx.TransportError:
                break
            await asyncio.sleep(0.1)
        ends = await asyncio.gather(*tails)
    code = await asyncio.to_thread(server.process.wait, 30)
    took = time.monotonic() - began
    streams = max(end for end, _ in ends) - began
    print(
        f"FIGURE exit with 20 open streams and a turn under way: {took:.2f} s (grace 3); streams ended in {streams:.2f} s"
    )
    assert code == 0
    assert took <= 25
    assert streams <= 1 + SLACK
    assert all(data.endswith(b"\n\n") for _, data in ends)
    assert ready[-1] == 503
    assert codes <= {202, 503}
    assert sent == 1


async def _read_to_end(http: httpx.AsyncClient, url: str, begun: asyncio.Event) -> tuple[float, bytes]:
    data = b""
    async with http.stream("GET", url) as response:
        async for piece in response.aiter_raw():
            data = (data + piece)[-64:]
            begun.set()
    return time.monotonic(), data


async def test_code_that_does_not_end_keeps_nobody(place: Place):
    """A run function that goes on when it is cancelled keeps neither its process nor its chat."""
    place.open("web", ttl=30.0)
    worker = place.open("worker", "--grace", "1", ttl=30.0)
    place.talk("stubborn")
    await until(place.reader(), lambda records: [r for r in records if r.kind == "turn-start"])
    worker.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = await asyncio.to_thread(worker.process.wait, 30)
    took = time.monotonic() - began
    print(f"FIGURE exit with code that does not end: {took:.2f} s (grace 1)")
    place.open("worker", ttl=30.0)
    again, reader = place.talk("stubborn"), place.reader()
    twice = await until(reader, lambda records: [r for r in records if r.kind == "turn-start"][1:])
    assert (code, again, twice[0].body["inSeq"]) == (0, 2, 1)
    assert took <= 1 + 5 + SLACK


async def test_a_second_signal_ends_it_now(place: Place):
    """A second signal does not wait for the grace, and loses nothing: another worker closes what was under way."""
    place.open("web", ttl=30.0)
    worker = place.open("worker", "--grace", "60", ttl=30.0)
    sent, reader = place.talk("60"), place.reader()
    await until(reader, pid_of)
    place.open("worker", ttl=30.0)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)  # two signals of one kind that come at once are one
    worker.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = await asyncio.to_thread(worker.process.wait, 30)
    took = time.monotonic() - began
    print(f"FIGURE exit after a second signal: {took:.2f} s")
    assert code == 0
    assert took <= 2 + SLACK
    assert await until(reader, status_of(sent), 20) == "interrupted"


# --- poison


class Supervisor:
    """Starts servers again when they end, as systemd does."""

    def __init__(self, *servers: Process) -> None:
        self._servers = servers
        self.restarts = 0
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            for server in self._servers:
                if server.process.poll() is not None:
                    self.restarts += 1
                    server.spawn()
            await asyncio.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgres"])
def town(request: pytest.FixtureRequest, tmp_path: Path, place: Place) -> Iterator[tuple[Place, list[Process]]]:
    """A SQLite store with its one process, or PostgreSQL with a web process and two workers: which of them may die."""
    if request.param == "sqlite":
        (tmp_path / "s").mkdir()
        alone = Place(tmp_path / "s", f"sqlite:///{tmp_path / 'chat.db'}")
        yield alone, [alone.open("all")]
        alone.close()
    else:
        place.open("web")
        yield place, [place.open("worker"), place.open("worker")]


@pytest.mark.parametrize(("poison", "agent"), [("exit", "a"), ("tool", "a"), ("exit", "h")])
async def test_poison_is_given_up_and_neighbours_live(town: tuple[Place, list[Process]], poison: str, agent: str):
    """An input that kills its process three times is settled as failed; the chats beside it are all answered."""
    place, mortal = town
    beside = [f"beside-{number}" for number in range(8)]
    async with Supervisor(*mortal) as supervisor:
        began = time.monotonic()
        first = {chat: await _insist(place, "0.5", chat) for chat in beside}
        sent = await _insist(place, poison, "poison", agent)
        reader = place.reader("poison")
        assert await until(reader, status_of(sent), 90) == "failed"
        took = time.monotonic() - began
        again = await _insist(place, "0", "poison", agent)
        assert await until(reader, status_of(again), 60) == "completed"
        statuses = [await until(place.reader(chat), status_of(first[chat]), 60) for chat in beside]
        everybody = time.monotonic() - began
        said = place.messages("poison")
    (error,) = [r.body["error"] for r in reader.records if r.kind == "turn-complete" and "error" in r.body]
    print(
        f"FIGURE poison settled after {took:.1f} s, all neighbours after {everybody:.1f} s, {supervisor.restarts} deaths"
    )
    assert error["code"] == "input-quarantined"
    assert supervisor.restarts == 3
    assert [text for role, text in said if role == "user"] == [poison, "0"]
    assert set(statuses) <= {"completed", "interrupted"}


async def _insist(place: Place, text: str, chat: str, agent: str = "a") -> int:
    """Say something to servers that may be away for a moment."""
    while True:
        try:
            return await asyncio.to_thread(place.talk, text, chat, agent)
        except (httpx.TransportError, httpx.HTTPStatusError):
            await asyncio.sleep(0.1)
