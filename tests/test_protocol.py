"""protocol.md tells the truth: its transcripts are run against a real server, its tables are compared with the code."""

from __future__ import annotations

import inspect
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from chatrt import codec, errors, packed
from chatrt.attachments import Attachments
from chatrt.errors import ChatrtError, InvalidInputError, PublicError
from chatrt.file_urls import FileURLs
from chatrt.ids import CountingIds
from chatrt.server import Delivery, Limits, Webhook, WebhookEvent, create_app
from chatrt.server.auth import MAX_TOKEN_LENGTH
from chatrt.server.errors import INTERNAL, MESSAGES
from chatrt.server.limits import MAX_CHAT_ID, MAX_SECONDS_PER_TOKEN, MAX_TITLE
from chatrt.server.links import MAX_LINK_SECONDS
from chatrt.stores.metadata import MAX_METADATA_BYTES
from chatrt.testing.playbook import playbook

PAGE = (Path(__file__).parent.parent / "protocol.md").read_text(encoding="utf-8")
WEBHOOK_SECRET = "the-webhook-secret-of-this-page"
SECRET_KEY = "the-secret-key-of-this-page"
CLIENT_SIDE = (errors.RemoteError, errors.TurnFailedError, errors.UsageError, errors.StoreLockedError)


# --- reading the page


@dataclass
class Exchange:
    """One request and the answer it should get."""

    line: int
    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    expected_headers: dict[str, str]
    expected: list[str]


@dataclass
class Transcript:
    """A fenced block: some exchanges with one of the two servers."""

    line: int
    with_key: bool
    exchanges: list[Exchange] = field(default_factory=list)


def read_page() -> Iterator[Transcript]:
    lines = PAGE.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("```http"):
            end = lines.index("```", number)
            transcript = Transcript(number + 1, with_key=line.endswith("with-key"))
            transcript.exchanges = list(read_exchanges(lines[number + 1 : end], number + 2))
            yield transcript


def read_exchanges(lines: list[str], first: int) -> Iterator[Exchange]:
    grouped = [
        (mark, [line[2:] for _, line in group])
        for mark, group in itertools.groupby(enumerate(lines), lambda item: item[1][:1])
        if mark
    ]
    assert [mark for mark, _ in grouped] == [">", "<"] * (len(grouped) // 2), f"line {first}"
    for (_, request), (_, answer) in zip(grouped[::2], grouped[1::2], strict=True):
        line = first + lines.index(f"> {request[0]}")
        method, path = request[0].split(" ")
        headers, body = split_head(request[1:])
        expected_headers, expected = split_head(answer[1:])
        yield Exchange(line, method, path, headers, "".join(body), int(answer[0]), expected_headers, expected)


def split_head(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    if "" not in lines[:6] or lines[0].startswith("{"):
        return ({}, lines) if not lines or lines[0].startswith("{") else (dict(map(as_header, lines)), [])
    end = lines.index("")
    return dict(map(as_header, lines[:end])), lines[end + 1 :]


def as_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


# --- MessagePack, which the page has in hex or as JSON, a frame in a line


def is_hex(line: str) -> bool:
    return re.fullmatch("[0-9a-f]{2}( [0-9a-f]{2})*", line) is not None


def as_hex(body: bytes) -> list[str]:
    return [body.hex(" ")]


def as_frames(body: bytes) -> list[str]:
    decoder = packed.FrameDecoder()
    frames = decoder.decode(body)
    assert decoder.is_between_frames
    return [f'[{seq}, "{kind}", {text.decode()}]' for seq, kind, text in frames]


# --- comparing


class Names:
    """What the server made up, by the name the page gives it."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def fill(self, text: str) -> str:
        return re.sub("«([a-z]+)»", lambda match: self.values[match[1]], text)

    def matches(self, pattern: str, text: str) -> bool:
        seen: set[str] = set()
        expression = ""
        for piece in re.split("(…|«[a-z]+»)", pattern):
            name = piece[1:-1]
            if piece == "…":
                expression += ".*"
            elif not piece.startswith("«"):
                expression += re.escape(piece)
            elif name in self.values:
                expression += re.escape(self.values[name])
            elif name in seen:
                expression += f"(?P={name})"
            else:
                seen.add(name)
                expression += f'(?P<{name}>[^"()]+)'
        match = re.fullmatch(expression, text)
        if match is not None:
            self.values.update(match.groupdict())
        return match is not None

    def same_json(self, pattern: Any, value: Any) -> bool:
        match pattern:
            case dict():
                pattern = {self.fill(key): item for key, item in pattern.items()}
                return (
                    isinstance(value, dict)
                    and pattern.keys() == value.keys()
                    and all(self.same_json(pattern[key], value[key]) for key in pattern)
                )
            case list():
                return (
                    isinstance(value, list) and len(pattern) == len(value) and all(map(self.same_json, pattern, value))
                )
            case "…":
                return True
            case str():
                return isinstance(value, str) and self.matches(pattern, value)
            case _:
                return pattern == value

    def same_lines(self, patterns: list[str], lines: list[str]) -> bool:
        if not patterns:
            return not lines
        if patterns[0] == "…":
            return any(self.same_lines(patterns[1:], lines[skip:]) for skip in range(len(lines) + 1))
        return bool(lines) and self.matches(patterns[0], lines[0]) and self.same_lines(patterns[1:], lines[1:])


async def run(exchange: Exchange, http: httpx.AsyncClient, names: Names) -> None:
    where = f"protocol.md line {exchange.line}"
    headers = {name: names.fill(value) for name, value in exchange.headers.items()}
    if exchange.body:
        headers.setdefault("content-type", "application/json")
    response = await http.request(
        exchange.method, names.fill(exchange.path), headers=headers, content=names.fill(exchange.body).encode()
    )
    assert response.status_code == exchange.status, f"{where}: {response.text}"
    for name, value in exchange.expected_headers.items():
        assert response.headers[name] == value, where
    if response.headers.get("content-type") == "application/json":
        pattern = json.loads(re.sub(r"(?<=: )…", '"…"', "\n".join(exchange.expected)))
        assert names.same_json(pattern, response.json()), f"{where}: {response.text}"
    elif response.headers.get("content-type") == packed.MEDIA_TYPE:
        lines = as_hex(response.content) if is_hex(exchange.expected[0]) else as_frames(response.content)
        assert names.same_lines(exchange.expected, lines), f"{where}:\n{lines}"
    else:
        lines = response.text.removesuffix("\n").split("\n") if response.text else []
        assert names.same_lines(exchange.expected, lines), f"{where}:\n{response.text}"


# --- the tests


def to_issue(event: WebhookEvent) -> Delivery:
    issue = event.json["issue"]
    return Delivery(chat_id=f"issue {issue['number']}", agent="playbook", message=issue["title"])


TRANSCRIPTS = list(read_page())


async def test_the_transcripts_are_what_happens(serve):
    """Every transcript, in the order of the page, against a real server."""
    issues = Webhook("issues", scheme="github", secret=WEBHOOK_SECRET, to=to_issue)
    no_key = await serve(create_app(playbook, store="memory://", ids=CountingIds(), webhooks=[issues]))
    with_key = await serve(create_app(playbook, store="memory://", ids=CountingIds(), secret_key=SECRET_KEY))
    names = Names()
    assert len(TRANSCRIPTS) > 8
    for transcript in TRANSCRIPTS:
        for exchange in transcript.exchanges:
            await run(exchange, with_key if transcript.with_key else no_key, names)


@pytest.mark.parametrize(
    ("pattern", "lines", "same"),
    [
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…", "d"], ["a", "b", "c"], False),
        (["a «x» b", "«x»"], ["a 1 b", "1"], True),
        (["a «x» b", "«x»"], ["a 1 b", "2"], False),
        (["a…"], ["abc"], True),
        (["a"], ["a", "b"], False),
    ],
)
def test_a_wrong_transcript_would_be_found(pattern: list[str], lines: list[str], same: bool):
    """The comparison is able to fail."""
    assert Names().same_lines(pattern, lines) is same


def classes() -> list[type[ChatrtError]]:
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, ChatrtError)]
    return [cls for cls in found if not issubclass(cls, CLIENT_SIDE)]


def text_of(cls: type[ChatrtError]) -> str:
    if issubclass(cls, PublicError):
        return "*message*"
    if issubclass(cls, InvalidInputError):
        return "*reason*"
    return MESSAGES.get(cls.code, INTERNAL)


def error_rows() -> list[str]:
    rows = {
        cls.code: f"| `{cls.code}` | {cls.status} | {'yes' if cls.retryable else 'no'} | {text_of(cls)} |"
        for cls in classes()
    }
    return [rows[code] for code in sorted(rows, key=lambda code: (rows[code].split("|")[2], code))]


def test_the_table_of_errors_is_the_tree_of_errors():
    """Every code a client can meet, with its status, whether to retry, and its text."""
    section = PAGE.partition("## 9. Errors")[2].partition("## 10.")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == error_rows()


def test_the_limits_are_those_of_the_code():
    """The numbers of the page are the defaults."""
    limits = Limits()
    section = PAGE.partition("## 10. Limits")[2].partition("## 11.")[0]
    assert (limits.bytes, limits.depth, limits.nodes) == (2**20, 64, 10_000) == _sizes(codec.Limits())
    assert "1 MiB, 64 levels deep, 10,000 values" in section
    assert (limits.body_seconds, limits.send_seconds, limits.stream_seconds) == (30, 30, 1800)
    files = Attachments()
    assert (files.max_bytes, files.max_count, files.max_total) == (20 * 2**20, 100, 200 * 2**20)
    assert (files.model_bytes, files.prompt_bytes, files.upload_seconds) == (10 * 2**20, 30 * 2**20, 600)
    assert (files.link_seconds, MAX_LINK_SECONDS, FileURLs().data_bytes) == (300, 3600, 2**20)
    assert ", ".join(f"`{media_type}`" for media_type in files.types) in section
    webhook = Webhook("w", scheme="github", secret="s", to=to_issue)
    assert (webhook.max_bytes, webhook.tolerance) == (2**20, 300)
    assert (MAX_CHAT_ID, MAX_TOKEN_LENGTH, MAX_SECONDS_PER_TOKEN) == (256, 4096, 86_400)
    assert (MAX_METADATA_BYTES, MAX_TITLE) == (64 * 1024, 256)
    assert "64 KiB" in section


def _sizes(limits: codec.Limits) -> tuple[int, int, int]:
    return limits.bytes, limits.depth, limits.nodes


async def test_every_endpoint_is_on_the_page():
    """No route that the page does not name."""
    app = create_app(playbook, store="memory://")
    for route in app.routes:
        path = re.sub(r"\{(\w+):segment\}", r"{\1}", route.path).replace("{chat_id}", "{chatId}")  # type: ignore[attr-defined]
        assert f"{path}`" in PAGE or f"{path}?" in PAGE, path
