"""Chat ids in paths: one percent-encoded segment, whatever characters the id has.

Servers decode a path before it is routed, and an encoded slash then looks like a border between segments. So the path
is made again from the raw one, with slashes and percent signs inside a segment left encoded, and `{chat_id:segment}`
decodes them: exactly once.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from chatrt.errors import InvalidInputError


class SegmentConvertor(Convertor[str]):
    """`{name:segment}`: one segment of a path, decoded."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return value.replace("%2F", "/").replace("%25", "%")

    def to_string(self, value: str) -> str:
        return value.replace("%", "%25").replace("/", "%2F")


class SegmentPaths:
    """Gives the routes below it paths in which a segment is a segment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes | None = scope.get("raw_path")
        if scope["type"] == "http" and raw_path is not None and b"%" in raw_path:
            scope = {**scope, "path": _encode_segments(raw_path, scope.get("root_path", ""))}
        await self._app(scope, receive, send)


def _encode_segments(raw_path: bytes, root_path: str) -> str:
    segments = raw_path.partition(b"?")[0].split(b"/")
    # The prefix that this application is mounted at stays as the router above has matched it.
    mounted = root_path.count("/")
    if root_path and _decode(b"/".join(segments[: mounted + 1])) == root_path:
        segments = segments[mounted + 1 :]
    else:
        segments = segments[1:]
    convertor = SegmentConvertor()
    return "/".join([root_path, *(convertor.to_string(_decode(segment)) for segment in segments)])


def _decode(segment: bytes) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("the path is not UTF-8") from None


register_url_convertor("segment", SegmentConvertor())
