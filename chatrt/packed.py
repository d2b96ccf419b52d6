"""MessagePack frames as bytes: an incremental decoder under limits and the encoder of one frame.

A frame is `[seq, kind, body]` with the body as JSON in a bin, byte for byte what the log holds: whoever makes it copies
and whoever reads it parses JSON once; the same in the types of MessagePack would cost both more. `nil` between two
frames says that the connection lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs]

from chatrt.errors import MalformedStreamError

MEDIA_TYPE = "application/vnd.chatrt+msgpack"
HEARTBEAT = b"\xc0"
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""What one frame may weigh for a reader, unless it says otherwise; bytes."""

_MAX_KIND = 64
_HEAD = 1 + 9 + 2 + _MAX_KIND + 5
"""The most that stands before a body: the array, a number, a kind, and the length of the body."""
_PIECE = 64 * 1024

Frame = tuple[int, str, bytes]

# A new packer for each frame would cost as much again.
_pack = cast("Callable[[Any], bytes]", msgpack.Packer().pack)  # pyright: ignore[reportUnknownMemberType]


def encode_frame(seq: int, kind: str, body: bytes) -> bytes:
    """Return one frame.

    Args:
        seq: The record's number, which is the cursor of who has read it.
        kind: The record's kind.
        body: Encoded JSON.
    """
    return _pack((seq, kind, body))


class FrameDecoder:
    """Turns bytes into frames as they become complete, however they are cut. Heartbeats are passed over.

    Args:
        max_bytes: What the body of a frame may weigh; no more than this is held of an unfinished one.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._unpacker: Any = msgpack.Unpacker(  # pyright: ignore[reportUnknownMemberType]
            use_list=False,
            max_buffer_size=max_bytes + _HEAD + _PIECE,
            max_bin_len=max_bytes,
            max_str_len=_MAX_KIND,
            max_array_len=3,
            max_map_len=0,
            max_ext_len=0,
        )

    def decode(self, data: bytes) -> list[Frame]:
        """Take bytes and return the frames that they complete.

        Raises:
            MalformedStreamError: If this is no stream of frames, or one of them is too large; nothing can be read
                behind it.
        """
        frames: list[Frame] = []
        for start in range(0, len(data), _PIECE):
            frames.extend(self._feed(data[start : start + _PIECE]))
        return frames

    @property
    def is_between_frames(self) -> bool:
        """Whether what came so far ends with a whole frame. Asked at the end: nothing can be decoded after it."""
        try:
            return list(self._values(HEARTBEAT)) == [None]  # within a frame it would have been taken for a part of it
        except MalformedStreamError:
            return False

    def _feed(self, data: bytes) -> Iterator[Frame]:
        for value in self._values(data):
            match value:
                case (int(seq), str(kind), bytes(body)) if seq >= 0 and type(seq) is int:
                    yield seq, kind, body
                case None:
                    pass
                case _:
                    raise MalformedStreamError("a value that is no record")

    def _values(self, data: bytes) -> Iterator[Any]:
        try:
            self._unpacker.feed(data)
            yield from self._unpacker
        except msgpack.BufferFull:
            raise MalformedStreamError(f"a record of more than {self._max_bytes} bytes") from None
        except (ValueError, msgpack.UnpackException) as error:
            raise MalformedStreamError(str(error) or type(error).__name__) from None
