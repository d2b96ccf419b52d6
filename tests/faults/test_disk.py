"""A served SQLite file on a disk that is full, fails or hangs: no ack without durability, and everybody reads on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.needs import need_root, need_strace, run
from tests.faults.raw_reader import RawReader
from tests.served import Server

APP = "tests.faults.line_app:app"
MEGABYTE = 2**20
WAL_BOUND = 8 * MEGABYTE


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    need_root("a disk of its own (mount -t tmpfs)")
    folder = tmp_path / "disk"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=16m", "chatrt", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    server = Server(APP, folder)
    server.start()
    httpx.post(f"{server.url}/v1/sessions", json={"agent": "playbook", "chatId": "c"}).raise_for_status()
    try:
        yield server
    finally:
        server.kill()


class Speaker:
    """Appends messages to a chat, each under a key of its own, and remembers what was acknowledged."""

    def __init__(self, server: Server, chat: str = "c") -> None:
        self.url = f"{server.url}/v1/sessions/{chat}"
        self.acked: dict[str, int] = {}
        self.refused: list[str] = []
        self.seconds: list[float] = []

    def say(self, key: str, text: str) -> bool:
        """Append; tells whether it was acknowledged. A refusal has its code and says when to come again."""
        message = {"id": key, "role": "user", "parts": [{"type": "text", "text": text}]}
        began = time.monotonic()
        body = {"kind": "message", "message": message}
        answer = httpx.post(f"{self.url}/in", json=body, headers={"idempotency-key": key}, timeout=20)
        self.seconds.append(time.monotonic() - began)
        if answer.status_code == 202:
            self.acked[key] = answer.json()["seq"]
            return True
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store-unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        self.refused.append(key)
        return False

    def say_until_taken(self, key: str, text: str) -> None:
        end = time.monotonic() + 10
        while not self.say(key, text):
            assert time.monotonic() < end

    def user_messages(self) -> list[str]:
        """The ids of the user messages, once everything is answered."""
        end = time.monotonic() + 20
        while (state := httpx.get(f"{self.url}/messages").raise_for_status().json())["status"] != "idle":
            assert time.monotonic() < end, state
            time.sleep(0.02)
        return [one["id"] for one in state["messages"] if one["role"] == "user"]


def reading(server: Server, chat: str, turns: int) -> tuple[RawReader, threading.Thread]:
    """A reader on one connection until so many turns have ended; silence would end it too."""
    reader = RawReader(server.port, chat)
    options = {"until_idle": False, "turns": turns, "silence": 5.0}
    thread = threading.Thread(target=reader.read, kwargs=options)
    thread.start()
    return reader, thread


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        for size in (MEGABYTE, 4096):
            with suppress(OSError):
                while ballast.write(bytes(size)):
                    pass


def assert_whole(path: Path) -> None:
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


def beats(reader: RawReader, thread: threading.Thread) -> bool:
    """Whether an open stream still has a heart that beats."""
    before, end = reader.beats, time.monotonic() + 3
    while reader.beats < before + 2 and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    return reader.beats >= before + 2


@pytest.mark.parametrize("length", [10, 60_000], ids=["small", "large"])
def test_a_full_disk(small_disk, length):
    """On a full disk appends are refused with their code, chats are read and streams stay open; when there is space
    again the same process goes on, what was acknowledged is answered once, and the file is whole."""
    with served(small_disk) as server:
        speaker = Speaker(server)
        text = "echo " + "x" * length
        speaker.say_until_taken("first", text)
        reader, thread = reading(server, "c", 1_000)
        while not reader.completed:
            time.sleep(0.01)
        fill(small_disk / "ballast")
        for number in range(400):
            if not speaker.say(f"full-{number}", text) and len(speaker.refused) >= 5:
                break
        assert len(speaker.refused) >= 5
        assert httpx.get(f"{speaker.url}/messages").status_code == 200
        whole = RawReader(server.port, "c")
        whole.read(until_idle=False, turns=1)
        assert whole.events
        assert beats(reader, thread), "the open stream was ended"
        taken_while_full = len(speaker.acked)
        (small_disk / "ballast").unlink()
        began = time.monotonic()
        speaker.say_until_taken("space", text)
        back = time.monotonic() - began
        for key in list(speaker.refused):
            speaker.say_until_taken(key, text)
        assert thread.is_alive()
        assert speaker.user_messages() == sorted(speaker.acked, key=speaker.acked.__getitem__)
        assert len(set(speaker.acked.values())) == len(speaker.acked)
        wal = (small_disk / "chat.db-wal").stat().st_size
        server.kill()
        thread.join(10)
        server.start()
        assert speaker.user_messages() == sorted(speaker.acked, key=speaker.acked.__getitem__)
    assert_whole(small_disk / "chat.db")
    print(
        f"{taken_while_full} taken before it was full, 202 again after {back:.2f} s, a log of {wal / MEGABYTE:.1f} MiB"
    )
    assert wal < WAL_BOUND


def test_a_turn_on_a_full_disk(small_disk):
    """A turn during which the disk fills up shows nothing that is not stored, and is finished when there is space."""
    with served(small_disk) as server:
        speaker = Speaker(server)
        speaker.say_until_taken("count", "count 200")
        reader, thread = reading(server, "c", 1)
        while len(reader.events) < 20:
            time.sleep(0.01)
        fill(small_disk / "ballast")
        seen = -1
        while seen != len(reader.events):
            seen = len(reader.events)
            time.sleep(0.3)
        assert not reader.completed
        assert beats(reader, thread)
        (small_disk / "ballast").unlink()
        thread.join(15)
        reader.assert_contiguous()
        assert reader.completed == [1]
        assert reader.text == "".join(f"w{number} " for number in range(200))
        assert reader.connections == 1
        print(f"{seen} of {len(reader.events)} records were stored when it was full")


def test_the_log_does_not_grow_without_end(tmp_path):
    """However much is written, the write-ahead log is folded into the file in between."""
    with served(tmp_path) as server:
        speaker, largest = Speaker(server), 0
        for number in range(25):
            speaker.say_until_taken(f"m{number}", "echo " + "x" * 200_000)
            largest = max(largest, (tmp_path / "chat.db-wal").stat().st_size)
        speaker.user_messages()
        written = (tmp_path / "chat.db").stat().st_size
    print(f"a file of {written / MEGABYTE:.0f} MiB, a log of at most {largest / MEGABYTE:.1f} MiB")
    assert written > 8 * MEGABYTE
    assert largest < WAL_BOUND


@contextmanager
def every_sync(server: Server, fault: str) -> Iterator[None]:
    """Let something happen to each `fdatasync` of a running process."""
    strace = need_strace()
    command = [strace, "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{fault}"]
    tracer = subprocess.Popen([*command, "-p", str(server.process_id)], stderr=subprocess.PIPE)
    status = Path(f"/proc/{server.process_id}/task")
    end = time.monotonic() + 10
    while not all("TracerPid:\t0" not in (task / "status").read_text() for task in status.iterdir()):
        if tracer.poll() is not None or time.monotonic() > end:
            pytest.skip(f"NOT TESTED HERE: strace may not attach: {(tracer.stderr and tracer.stderr.read()) or b''}")
        time.sleep(0.01)
    try:
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        assert tracer.stderr is not None
        tracer.stderr.close()


def test_syncs_that_fail(tmp_path):
    """While the disk reports errors nothing is acknowledged and reads go on; what was refused and is said again is one
    message, and after a kill everything acknowledged is there."""
    with served(tmp_path) as server:
        speaker = Speaker(server)
        speaker.say_until_taken("before", "echo before")
        speaker.user_messages()
        with every_sync(server, "error=EIO"):
            for number in range(10):
                assert not speaker.say(f"m{number}", f"echo {number}")
            assert httpx.get(f"{speaker.url}/messages").status_code == 200
        for key in list(speaker.refused):
            speaker.say_until_taken(key, "echo again")
        answered = speaker.user_messages()
        server.kill()
        assert_whole(tmp_path / "chat.db")
        server.start()
        assert speaker.user_messages() == answered == ["before", *(f"m{number}" for number in range(10))]


def test_syncs_that_hang(tmp_path):
    """While the disk takes its time only what has to be durable waits: chats are read, streams have their heartbeats."""
    with served(tmp_path) as server:
        speaker = Speaker(server)
        speaker.say_until_taken("before", "echo before")
        reader, thread = reading(server, "c", 2)
        speaker.user_messages()
        with every_sync(server, "delay_enter=1500000"):
            saying = threading.Thread(target=speaker.say, args=("slow", "echo slow"))
            saying.start()
            looks = []
            while saying.is_alive():
                began = time.monotonic()
                assert httpx.get(f"{speaker.url}/messages").status_code == 200
                looks.append(time.monotonic() - began)
                time.sleep(0.05)
            assert beats(reader, thread)
        speaker.say_until_taken("slow", "echo slow")
        thread.join(15)
        print(f"the append took {speaker.seconds[1]:.1f} s, {len(looks)} reads meanwhile at most {max(looks):.2f} s")
        assert speaker.user_messages() == ["before", "slow"]
        assert reader.completed == [1, 2]
        assert len(looks) > 5
        assert max(looks) < 0.75
