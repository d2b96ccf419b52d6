"""`.out` as MessagePack frames over HTTP: the same log as the events, resumed, kept alive and ended in the same ways."""

from __future__ import annotations

import json

import httpx
import msgpack

from chatrt.clock import ManualClock
from chatrt.packed import HEARTBEAT, MEDIA_TYPE, FrameDecoder
from chatrt.server import Limits
from tests.server.kit import Feed, Kit, user

OUT = "/v1/sessions/c1/out"
FRAMES = {"accept": MEDIA_TYPE}


class FrameFeed:
    """Reads the frames of an open stream one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self._bytes = response.aiter_raw()
        self._decoder = FrameDecoder()
        self._ready: list[tuple[int, str, bytes]] = []

    async def next(self) -> tuple[int, str, bytes]:
        while not self._ready:
            self._ready += self._decoder.decode(await anext(self._bytes))
        return self._ready.pop(0)

    async def until(self, text: bytes) -> list[tuple[int, str, bytes]]:
        frames = [await self.next()]
        while text not in frames[-1][2]:
            frames.append(await self.next())
        return frames

    async def rest(self) -> list[tuple[int, str, bytes]]:
        frames = []
        try:
            while True:
                frames.append(await self.next())
        except StopAsyncIteration:
            assert self._decoder.is_between_frames
            return frames


async def read(kit: Kit, headers: dict[str, str]) -> httpx.Response:
    return (await kit.http.get(OUT, params={"until": "idle"}, headers=headers)).raise_for_status()


def as_frames(body: bytes) -> list[tuple[int, str, bytes]]:
    return FrameDecoder().decode(body)


async def test_both_formats_tell_the_same_log(kit):
    """Every record has the same number, kind and body in either format, and both end with `idle`."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("count 20")})
    async with kit.http.stream("GET", OUT, params={"until": "idle"}) as response:
        events = [(e.id, e.event, json.loads(e.data)) for e in await Feed(response).rest()]
    response = await read(kit, FRAMES)
    frames = as_frames(response.content)
    assert [
        (str(seq), "message" if kind == "chunk" else kind, json.loads(body)) for seq, kind, body in frames[:-1]
    ] == [event for event in events if event[1] != "idle"]
    assert frames[-1] == (frames[-2][0], "idle", b'{"cursor":%d}' % frames[-2][0])


async def test_the_headers_say_what_it_is(kit):
    """The type is the one that was asked for, without a charset, and caches are told what it depends on."""
    await kit.new("c1")
    headers = (await read(kit, FRAMES)).headers
    assert headers["content-type"] == MEDIA_TYPE
    assert headers["cache-control"] == "no-cache, no-transform"
    assert "Accept" in headers["vary"].split(", ")
    assert (await read(kit, {"accept": "*/*"})).headers["vary"] == headers["vary"]


async def test_a_cursor_resumes_frames(kit):
    """`Last-Event-ID` and `after` begin behind that record, as with events."""
    await kit.new("c1")
    await kit.put("c1", {"kind": "message", "message": user("count 20")})
    whole = as_frames((await read(kit, FRAMES)).content)
    assert as_frames((await read(kit, {**FRAMES, "last-event-id": "7"})).content) == whole[7:]
    response = await kit.http.get(OUT, params={"until": "idle", "after": "9"}, headers=FRAMES)
    assert as_frames(response.content) == whole[9:]


async def test_a_bad_cursor_is_an_answer_in_json(kit):
    """What is refused before the stream begins is refused as everywhere."""
    await kit.new("c1")
    response = await kit.http.get(OUT, headers={**FRAMES, "last-event-id": "99"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "cursor-ahead")


async def test_a_quiet_stream_of_frames_is_kept_alive(make_kit):
    """The heartbeat is one byte, the value `nil`."""
    kit = await make_kit(heartbeat=0.01)
    await kit.new("c1")
    async with kit.http.stream("GET", OUT, headers=FRAMES) as response:
        data = b""
        async for piece in response.aiter_raw():
            data += piece
            if len(data) > 3:
                break
    assert data == HEARTBEAT * len(data)
    assert msgpack.unpackb(HEARTBEAT) is None


async def test_a_stream_of_frames_has_a_longest_life(make_kit):
    """After it the body ends in good order, between two frames; the reader goes on with its cursor."""
    clock = ManualClock()
    kit = await make_kit(clock=clock, limits=Limits(stream_seconds=1800))
    await kit.new("c1")
    async with kit.http.stream("GET", OUT, headers=FRAMES) as response:
        feed = FrameFeed(response)
        await kit.put("c1", {"kind": "message", "message": user("hold g")})
        last = (await feed.until(b"before"))[-1]
        clock.advance(1800)
        assert await feed.rest() == []
    async with kit.http.stream("GET", OUT, headers={**FRAMES, "last-event-id": str(last[0])}) as response:
        feed = FrameFeed(response)
        kit.gates["g"].set()
        assert (await feed.next())[0] == last[0] + 1


async def test_readers_of_both_formats_follow_one_turn(kit):
    """Two readers of one answer, one in each format, see it as it is made."""
    await kit.new("c1")
    async with kit.http.stream("GET", OUT) as one, kit.http.stream("GET", OUT, headers=FRAMES) as other:
        events, frames = Feed(one), FrameFeed(other)
        await kit.put("c1", {"kind": "message", "message": user("hold g")})
        seen = (await events.until("before"))[-1]
        assert (await frames.until(b"before"))[-1][2] == seen.data.encode()
        kit.gates["g"].set()
        assert (await frames.until(b'"inSeq":1'))[-1][1] == "turn-complete"
        assert (await events.until('"inSeq":1'))[-1].event == "turn-complete"


async def test_a_gap_is_a_frame(kit):
    """A cursor from before what is kept is answered with a `gap` first (D13)."""
    await kit.new("c1")
    for text in ("echo a", "echo b", "echo c", "echo d"):
        await kit.put("c1", {"kind": "message", "message": user(text)})
        await read(kit, FRAMES)
    first = as_frames((await read(kit, FRAMES)).content)[0]
    assert (first[1], json.loads(first[2])) == ("gap", {"after": 0, "firstSeq": first[0] + 1})
