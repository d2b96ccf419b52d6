"""Commands that write something about agents: to a file, or to standard output where nothing else may be."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

from chatrt.agent import ChatAgent
from chatrt.cli.target import Target, load
from chatrt.errors import UsageError


def load_target(text: str) -> Target:
    """Load a target to read from it; it is not served.

    Raises:
        UsageError: If it cannot be loaded.
    """
    # A target may make an application, which then warns of how it would be served.
    logging.getLogger("chatrt.server").setLevel(logging.ERROR)
    # What it prints when it is imported is not what was asked for.
    with redirect_stdout(sys.stderr):
        return load(text)


def load_agents(text: str) -> list[ChatAgent]:
    """Load the agents of a target.

    Raises:
        UsageError: If it cannot be loaded, or does not say which agents it has.
    """
    agents = load_target(text).agents
    if not agents:
        raise UsageError(f"{text} does not say which agents it serves: name an agent, or a list of agents")
    return agents


def write_out(text: str, out: str | None) -> None:
    """Write to a file, which then has all of it or is as it was; without one to standard output.

    A file that says the same already is not touched: whoever watches it need not start again.

    Raises:
        UsageError: If the file cannot be written.
    """
    if out is None:
        sys.stdout.write(text)
        return
    path = Path(out)
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass  # whatever it is, it is not this text
    try:
        _replace(path, text)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays one
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
