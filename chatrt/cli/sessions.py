"""`chatrt sessions`: list, show, export, import, replay, close and delete the sessions of a store or a server."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from chatrt.cli.session_source import Source, open_source
from chatrt.cli.terminal import Screen, clean, compact
from chatrt.codec import dumps
from chatrt.errors import StoreLockedError, UsageError

LONGEST_PAUSE = 5.0
"""Seconds; a recorded pause is never longer when it is replayed."""


def run(options: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        UsageError: If something is missing, or is there already.
        ChatrtError: What the store or the server says.
    """
    try:
        return asyncio.run(_run(options))
    except StoreLockedError as error:
        raise UsageError(f"{error}; ask the server that serves it by --url") from error
    except BrokenPipeError:
        # Who reads has seen enough. What is left goes nowhere, or Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


async def _run(options: argparse.Namespace) -> int:
    if options.do == "delete" and not options.yes:
        raise UsageError(f"{options.chat!r} would be gone for good; say --yes as well")
    async with open_source(options.store, options.url, options.tenant) as source:
        match options.do:
            case "list":
                await _list(source, options)
            case "show":
                await _show(source, options)
            case "replay":
                await _replay(source, options)
            case "export":
                await _export(source, options)
            case "import":
                print(clean(await source.bring_in(Path(options.file), chat_id=options.chat_id)))
            case "close":
                await source.close(options.chat, reason=options.reason)
            case _:
                await source.delete(options.chat)
    return 0


async def _list(source: Source, options: argparse.Namespace) -> None:
    async for row in source.list(agent=options.agent, status=options.status, limit=options.limit):
        if options.json:
            print(json.dumps(row))
        else:
            print(f"{row['createdAt']}  {row['status']:6}  {clean(row['agent'])}  {clean(row['chatId'])}")


async def _show(source: Source, options: argparse.Namespace) -> None:
    messages = await source.messages(options.chat)
    if options.json:
        print(json.dumps(messages, indent=2))
        return
    for message in messages:
        print(f"--- {clean(message['role'])} {clean(message['id'])}")
        for part in message["parts"]:
            _show_part(part)


def _show_part(part: dict[str, Any]) -> None:
    """Print a part for people; nothing in it commands the terminal."""
    kind: str = part["type"]
    match kind:
        case "text":
            print(clean(part["text"]))
        case "reasoning":
            print(f"(thinks) {clean(part['text'])}")
        case "step-start":
            pass
        case _ if kind == "dynamic-tool" or kind.startswith("tool-"):
            name = part.get("toolName") or kind.removeprefix("tool-")
            print(f"[{clean(name)} {compact(part.get('input'))}: {clean(part['state'])}]")
            for key in ("output", "errorText"):
                if key in part:
                    print(f"  {compact(part[key])}")
        case _:
            print(f"[{clean(kind)} {compact({key: value for key, value in part.items() if key != 'type'})}]")


async def _replay(source: Source, options: argparse.Namespace) -> None:
    screen = Screen(sys.stdout, colours=sys.stdout.isatty())
    before = 0
    async for seq, at, kind, body in source.records(options.chat):
        if options.pace and at and before:
            await asyncio.sleep(min(max(at - before, 0) / 1000 / options.pace, LONGEST_PAUSE))
        before = at
        if options.format == "sse":
            named = "" if kind == "chunk" else f"event: {kind}\n"
            sys.stdout.write(f"id: {seq}\n{named}data: {dumps(body).decode()}\n\n")
            sys.stdout.flush()
        elif kind == "chunk":
            screen.show(body)
        else:
            screen.line(f"--- {clean(kind)} {compact(body)}")
    screen.end_line()


async def _export(source: Source, options: argparse.Namespace) -> None:
    if options.output is None:
        async for piece in source.export(options.chat):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with _written_whole(Path(options.output)) as file:
        async for piece in source.export(options.chat):
            file.write(piece)


@contextmanager
def _written_whole(target: Path) -> Generator[IO[bytes]]:
    """Open a new file that is there when the body is through, and not before; only its owner may read it."""
    if target.exists():
        raise UsageError(f"{target} is there already")
    partial = Path(f"{target}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(0o600, exist_ok=False)
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
