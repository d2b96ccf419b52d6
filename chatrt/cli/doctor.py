"""`chatrt doctor`: look at everything that may go wrong, and say what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator

from chatrt.cli.checkup import Finding, check_configuration, check_machine, check_server, check_store
from chatrt.cli.terminal import clean
from chatrt.errors import UsageError

MARKS = {"ok": "ok", "note": "note", "warning": "WARNING", "problem": "PROBLEM"}
MAX_IDLE = 600.0
DEFAULT_STORE = "sqlite:///chatrt.db"


def run(options: argparse.Namespace) -> int:
    """Print what was found; the exit code is 1 if there is a problem, warnings do not count.

    Raises:
        UsageError: If the time to watch a quiet stream for is not possible.
    """
    if not 0 <= options.idle <= MAX_IDLE:
        raise UsageError(f"--idle is 0 to {MAX_IDLE:g} seconds, not {options.idle:g}")
    logging.getLogger("chatrt.server").setLevel(logging.ERROR)
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    found: list[Finding] = []
    async for finding in _look(options):
        found.append(finding)
        if not options.json:
            _print(finding)
    problems = sum(finding.level == "problem" for finding in found)
    if options.json:
        print(json.dumps({"ok": not problems, "findings": [finding.to_json() for finding in found]}, indent=2))
    else:
        warnings = sum(finding.level == "warning" for finding in found)
        print(f"\n{problems} problems, {warnings} warnings")
    return 1 if problems else 0


async def _look(options: argparse.Namespace) -> AsyncIterator[Finding]:
    for finding in check_machine():
        yield finding
    # With only --url given the store and the configuration are another machine's.
    if options.url is None or options.store is not None or options.target is not None:
        for finding in check_configuration(options.target, None):
            yield finding
        async for finding in check_store(options.store or os.environ.get("CHATRT_STORE") or DEFAULT_STORE):
            yield finding
    if options.url is not None:
        async for finding in check_server(options.url, os.environ.get("CHATRT_SECRET_KEY") or None, idle=options.idle):
            yield finding


def _print(finding: Finding) -> None:
    print(f"{MARKS[finding.level]:8} {finding.check}: {clean(finding.text)}")
    if finding.fix and finding.level != "ok":
        print(f"{'':8} -> {clean(finding.fix)}")
