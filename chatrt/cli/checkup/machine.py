"""Checks of the machine: Python, packages, open files, the clock."""

from __future__ import annotations

import re
import resource
import sqlite3
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from chatrt.cli.checkup.finding import Finding

BAD = {"litellm": {"1.82.7": "it carried a credential stealer", "1.82.8": "it carried a credential stealer"}}
"""Versions that nobody should run, and why."""

OLDEST = {
    "litellm": ("1.83.7", "versions before it have a known hole"),
    "starlette": ("1.0.1", "older ones are not supported"),
    "orjson": ("3.11.6", "older ones can be crashed by deep JSON"),
    "PyJWT": ("2.13", "older ones are not supported"),
    "uvicorn": ("0.41", "older ones are not supported"),
    "sse-starlette": ("3.4", "older ones are not supported"),
}

EXTRAS = {"asyncpg": ("0.32", "older ones are not supported")}
"""The same for what is there only if somebody asked for it."""

FEW_FILES = 4096
RELEASED = 1_767_225_600.0
"""The beginning of 2026: a clock that is before it is wrong."""


def check_machine() -> Iterator[Finding]:
    """Look at what chatrt runs on."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever forces an install hears of it here
        yield Finding("python", "problem", f"Python {running} is too old", "run chatrt with Python 3.11 or later")
    else:
        yield Finding("python", "ok", f"Python {running}, SQLite {sqlite3.sqlite_version}")
    yield from _packages()
    yield from _open_files()
    if time.time() < RELEASED:
        yield Finding("clock", "problem", f"the clock says {time.strftime('%Y-%m-%d')}", "set it; run an NTP client")


def _packages() -> Iterator[Finding]:
    fine: list[str] = []
    for name, (oldest, why) in (OLDEST | EXTRAS).items():
        try:
            found = version(name)
        except PackageNotFoundError:
            if name in EXTRAS:
                continue
            yield Finding("packages", "problem", f"{name} is not installed", f"pip install '{name}>={oldest}'")
            continue
        bad = BAD.get(name, {}).get(found)
        if bad is not None:
            fix = f"pip install -U {name}, and change every key this machine has seen"
            yield Finding("packages", "problem", f"{name} {found}: {bad}", fix)
        elif numbers(found) < numbers(oldest):
            yield Finding("packages", "problem", f"{name} {found}: {why}", f"pip install '{name}>={oldest}'")
        else:
            fine.append(f"{name} {found}")
    yield Finding("packages", "ok", ", ".join(fine))


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def _open_files() -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        text = f"{soft} open files are allowed; each open stream takes one"
        yield Finding("open-files", "warning", text, "LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536")
    else:
        yield Finding("open-files", "ok", "enough files can be open at once")
