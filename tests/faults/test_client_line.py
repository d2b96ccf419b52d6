"""A bad line between client and server: whatever is cut wherever, what was read is one slice of the log."""

from __future__ import annotations

import asyncio
import os
import random
import threading

import httpx
import pytest

from chatrt.client import AgentChat
from chatrt.client.http import HTTPTransport
from tests.faults.proxy import FaultProxy
from tests.faults.raw_reader import RawReader
from tests.served import Server

APP = "tests.faults.line_app:app"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(APP, tmp_path_factory.mktemp("line"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def proxy(server):
    with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def seed() -> int:
    """The seed is printed; set CHATRT_SEED to see the same choices again."""
    seed = int(os.environ.get("CHATRT_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"CHATRT_SEED={seed}")
    return seed


class Impatient:
    """A clock on which nobody waits before trying again."""

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def message(number: int, text: str) -> dict:
    said = {"id": f"user-{number}", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"kind": "message", "message": said}


def post(base: str, chat: str, number: int, text: str, **options) -> dict:
    """Append a message under a key of its own."""
    headers = {"idempotency-key": f"{chat}-{number}", "connection": "close"}
    answer = httpx.post(
        f"{base}/v1/sessions/{chat}/in", json=message(number, text), headers=headers, timeout=10, **options
    )
    return answer.raise_for_status().json()


def start(server: Server, chat: str) -> None:
    httpx.post(f"{server.url}/v1/sessions", json={"agent": "playbook", "chatId": chat}).raise_for_status()


def answered(server: Server, chat: str, text: str = "echo žluťoučký \U0001f9ed") -> RawReader:
    """A chat with one finished turn, and a reader that has read it over a good line."""
    start(server, chat)
    post(server.url, chat, 1, text)
    whole = RawReader(server.port, chat)
    whole.read_turns(1)
    return whole


def test_cut_at_every_byte(server, proxy):
    """A stream cut behind any of its bytes and resumed from the last whole event gives the log once, in order."""
    whole = answered(server, "every")
    measured = RawReader(proxy.port, "every")
    assert measured.read() == "end"
    assert measured.events == whole.events
    length = proxy.to_client.passed
    for after in range(length):
        reader = RawReader(proxy.port, "every")
        proxy.to_client.cut(after, "close")
        assert reader.read() == "end"
        cut = len(reader.events)
        assert reader.read() == "end"
        assert reader.events == whole.events, after
        assert cut <= len(whole.events)
    assert proxy.to_client.cuts == length
    print(f"{length} places, {proxy.accepted} connections")


def test_reset_at_many_bytes(server, proxy):
    """The same holds for a stream that ends in a reset, which may take away bytes that were on their way."""
    whole = answered(server, "reset")
    RawReader(proxy.port, "reset").read()
    endings = []
    for after in range(0, proxy.to_client.passed, 7):
        reader = RawReader(proxy.port, "reset")
        proxy.to_client.cut(after, "reset")
        endings.append(reader.read())
        assert reader.read() == "end"
        assert reader.events == whole.events, after
    assert set(endings) == {"reset"}


def test_a_live_stream_over_a_line_that_breaks_all_the_time(server, proxy, seed):
    """A reader of a running turn that loses its connection at random bytes, in every way, reads one slice of the log."""
    rng = random.Random(seed)
    start(server, "live")
    post(server.url, "live", 1, "count 150")
    reader = RawReader(proxy.port, "live")
    endings = []
    while not reader.completed:
        proxy.to_client.cut(rng.randrange(200, 3000), rng.choice(("reset", "close", "half-close")))
        endings.append(reader.read(until_idle=False, turns=1))
    reader.assert_contiguous()
    assert reader.text == "".join(f"w{number} " for number in range(150))
    assert reader.completed == [1]
    assert len(endings) > 5
    print(f"{reader.connections} connections")


def test_a_line_that_falls_silent(server, proxy):
    """A reader on a line that is dead without a word comes back after missed heartbeats; the turn has gone on."""
    start(server, "silent")
    post(server.url, "silent", 1, "count 100")
    reader = RawReader(proxy.port, "silent")
    proxy.to_client.cut(2500, "hole")
    assert reader.read(until_idle=False, silence=1.0) == "silence"
    early = len(reader.events)
    assert not reader.completed
    with FaultProxy(server.port) as other_line:
        reader.port = other_line.port
        reader.read_turns(1)
    reader.assert_contiguous()
    assert len(reader.events) > early > 0
    assert reader.text == "".join(f"w{number} " for number in range(100))


def test_a_quiet_stream_is_kept_alive(server, proxy):
    """A stream on which nothing happens carries heartbeats, so that silence means that the line is dead."""
    answered(server, "quiet")
    reader = RawReader(proxy.port, "quiet")
    reading = threading.Thread(target=reader.read, kwargs={"until_idle": False, "silence": 2.0})
    reading.start()
    while reader.beats < 2 and reading.is_alive():
        reading.join(0.05)
    proxy.reset()
    reading.join(5)
    assert reader.beats >= 2


@pytest.mark.parametrize("frames", [True, False], ids=["frames", "events"])
async def test_the_client_reads_on_at_every_byte(server, proxy, frames):
    """The Python client, cut behind every byte of both formats, gives each record once, in order."""
    chat = f"client-{frames}"
    answered(server, chat)
    transport = HTTPTransport(f"http://127.0.0.1:{proxy.port}", frames=frames, clock=Impatient())

    async def read() -> list:
        records = []
        async for batch in transport.read(chat, after=0):
            records += batch
            if batch[-1].kind == "turn-complete":
                return records
        return records

    whole = await read()
    length = proxy.to_client.passed
    assert [record.seq for record in whole] == list(range(1, len(whole) + 1))
    for after in range(0, length, 3):
        proxy.to_client.cut(after, "close")
        assert await read() == whole, after
    await transport.aclose()
    assert proxy.to_client.cuts > length / 6


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
async def test_the_client_asks_over_a_line_that_breaks(server, proxy, seed, how):
    """An answer that `AgentChat` streams over a line that breaks again and again is the whole answer, asked for once."""
    rng = random.Random(seed)
    words = []
    async with AgentChat("playbook", id=f"chat-{how}", base_url=f"http://127.0.0.1:{proxy.port}") as chat:
        stream = chat.send_message("count 80")
        async for chunk in stream:
            if chunk["type"] == "text-delta":
                words.append(chunk["delta"])
                if len(words) % 20 == 0:
                    proxy.to_client.cut(rng.randrange(400), how)
        proxy.heal()
        stored = await chat.messages()
    assert words == [f"w{number} " for number in range(80)]
    assert stream.status == "completed"
    assert proxy.to_client.cuts >= 3
    assert [one["role"] for one in stored] == ["user", "assistant"]


def test_an_append_that_is_cut(server, proxy):
    """An append cut anywhere in its request or its answer, and repeated with its key, is one record."""
    start(server, "cut")
    base = f"http://127.0.0.1:{proxy.port}"
    post(base, "cut", 0, "echo 0")
    sizes = [way.passed for way in proxy.ways]
    said, lost = ["user-0"], 0
    for way, size in zip(proxy.ways, sizes, strict=True):
        for after in range(0, size, size // 20):
            number = len(said)
            way.cut(after, "reset")
            with pytest.raises(httpx.TransportError):
                post(base, "cut", number, f"echo {number}")
            lost += post(base, "cut", number, f"echo {number}")["repeated"]
            said.append(f"user-{number}")
    rest = RawReader(server.port, "cut")
    while not rest.completed or rest.completed[-1] < len(said):
        rest.read_turns(len(rest.completed) + 1)
    assert rest.completed[-1] == len(said)
    stored = httpx.get(f"{server.url}/v1/sessions/cut/messages").json()
    assert (stored["status"], stored["lastInSeq"]) == ("idle", len(said))
    assert [one["id"] for one in stored["messages"][::2]] == said
    assert [one["parts"][-1]["text"] for one in stored["messages"][1::2]] == [f"{one}" for one in range(len(said))]
    assert lost >= 15, "the answers of these were lost behind the write"


async def test_the_client_repeats_an_append_whose_answer_was_lost(server, proxy):
    """`AgentChat` sends a message again under the same key when the answer to it was lost, and it is one message."""
    async with AgentChat("playbook", id="again", base_url=f"http://127.0.0.1:{proxy.port}") as chat:
        await chat.send_message("echo first").text()
        proxy.to_client.cut(0, "reset")
        assert await chat.send_message("echo second").text() == "second"
        assert proxy.to_client.cuts == 1
        assert len(await chat.messages()) == 4
