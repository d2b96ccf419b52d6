"""What the terminal shows of an answer, and how lines are read while one is streaming."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections import deque
from typing import Any, TextIO

from chatrt.ui import UIMessageChunk

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
DIM, PLAIN = "\x1b[2m", "\x1b[0m"
MAX_LINE = 400


def clean(text: str) -> str:
    """Take out what would command the terminal: a model's text is not trusted to do that."""
    return _CONTROL.sub("", text)


def compact(value: Any) -> str:
    """Return JSON in one line, cut where it gets too long to read."""
    written = clean(json.dumps(value, ensure_ascii=False))
    return written if len(written) <= MAX_LINE else f"{written[:MAX_LINE]}…"


class Lines:
    """Lines of a stream, read ahead by a thread so that an answer can be shown meanwhile."""

    def __init__(self, stream: TextIO) -> None:
        self._lines: deque[str | None] = deque()
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # A daemon: nobody can wake a thread that waits for a person.
        threading.Thread(target=self._read, args=(stream,), daemon=True, name="chatrt-lines").start()

    async def next(self) -> str | None:
        """Return the next line without its end, or None when there are no more."""
        while not self._lines:
            self._arrived.clear()
            await self._arrived.wait()
        return None if self._lines[0] is None else self._lines.popleft()

    async def next_is(self, command: str) -> None:
        """Return when the next line is this command, and take it; any other line is left for `next`."""
        while not self._lines or self._lines[0] != command:
            self._arrived.clear()
            await self._arrived.wait()
        self._lines.popleft()

    def _read(self, stream: TextIO) -> None:
        try:
            for line in stream:
                self._hand_over(line.rstrip("\r\n"))
            self._hand_over(None)
        except RuntimeError:
            return  # the loop is gone, and with it everybody who would want the line

    def _hand_over(self, line: str | None) -> None:
        self._loop.call_soon_threadsafe(self._take, line)

    def _take(self, line: str | None) -> None:
        self._lines.append(line)
        self._arrived.set()


class Screen:
    """Prints chunks as they come: text as it grows, everything else in one line each.

    Attributes:
        saw_call: Whether a tool was called since `begin`.
        failed: Whether the answer ended with an error.
    """

    def __init__(self, out: TextIO, *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._in_line = False
        self._names: dict[str, str] = {}
        self.saw_call = False
        self.failed = False

    def begin(self) -> None:
        """Get ready for the next answer."""
        self.saw_call = False
        self.failed = False

    def show(self, chunk: UIMessageChunk) -> None:
        """Print what a chunk says to people."""
        match chunk["type"]:
            case "text-delta":
                self._write(clean(chunk["delta"]))
            case "reasoning-delta" if self._colours:
                self._write(f"{DIM}{clean(chunk['delta'])}{PLAIN}")
            case "text-end" | "reasoning-end":
                self.end_line()
            case "error":
                self.failed = True
                self.line(f"error: {clean(chunk['errorText'])}")
            case "abort":
                self.line("(stopped)")
            case "source-url":
                self.line(f"[source: {clean(chunk['url'])}]")
            case "source-document":
                self.line(f"[source: {clean(chunk['title'])}]")
            case "file":
                self.line(f"[file: {clean(chunk['mediaType'])}]")
            case kind if kind.startswith("data-"):
                self.line(f"[{clean(kind)}: {compact(chunk['data'])}]")
            case kind if kind.startswith("tool-"):
                self._show_tool(chunk)
            case _:
                pass

    def _show_tool(self, chunk: UIMessageChunk) -> None:
        call = chunk.get("toolCallId", "")
        name = self._names.get(call, "tool")
        match chunk["type"]:
            case "tool-input-available":
                self.saw_call = True
                self._names[call] = name = clean(chunk["toolName"])
                self.line(f"[{name} {compact(chunk['input'])}]")
            case "tool-input-error":
                self.line(f"[{clean(chunk['toolName'])} was called wrongly: {clean(chunk['errorText'])}]")
            case "tool-output-available":
                self.line(f"[{name}{' so far' if chunk.get('preliminary') else ''}: {compact(chunk['output'])}]")
            case "tool-output-error":
                self.line(f"[{name} failed: {clean(chunk['errorText'])}]")
            case "tool-output-denied":
                self.line(f"[{name} was denied]")
            case _:
                pass

    def line(self, text: str) -> None:
        """Print a line of its own."""
        self.end_line()
        self._write(f"{text}\n")
        self._in_line = False

    def ask(self, text: str) -> None:
        """Print a question; the answer is typed behind it."""
        self.end_line()
        self._write(text)
        self._in_line = False

    def end_line(self) -> None:
        """Go to a new line, if something stands in this one."""
        if self._in_line:
            self._write("\n")
            self._in_line = False

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._in_line = not text.endswith("\n")


def standard_screen() -> Screen:
    """Return the screen that standard output is."""
    return Screen(sys.stdout, colours=sys.stdout.isatty())
