"""Where to listen and with what: flags, then environment, then defaults; and who may be let in."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
from dataclasses import dataclass
from typing import Any

from chatrt.cli.target import Target
from chatrt.errors import UsageError
from chatrt.runtime import Retention
from chatrt.server import create_app


@dataclass(frozen=True, slots=True)
class Listening:
    """An address and how much to log."""

    host: str
    port: int
    log_level: str


def read_options(options: argparse.Namespace) -> Listening:
    """Decide, and put flags that an app reads from its environment there, before anything is imported.

    Raises:
        UsageError: If the port is none.
    """
    for flag, name in (
        (options.store, "CHATRT_STORE"),
        (options.secret_key, "CHATRT_SECRET_KEY"),
        (getattr(options, "role", None), "CHATRT_ROLE"),
        (getattr(options, "max_runs", None), "CHATRT_MAX_RUNS"),
    ):
        if flag is not None:
            os.environ[name] = str(flag)
    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s:     %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "sse_starlette", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if options.log_level != "debug":
        # A line for each model call, and a second one that it prints itself: for who looks for a bug.
        logging.getLogger("LiteLLM").setLevel(logging.WARNING)
    host = options.host or os.environ.get("CHATRT_HOST") or "127.0.0.1"
    return Listening(host, _read_port(options.port), options.log_level)


def _read_port(flag: int | None) -> int:
    return check_port(os.environ.get("CHATRT_PORT") or "8000" if flag is None else str(flag))


def check_port(written: str) -> int:
    """Return a port that somebody wrote.

    Raises:
        UsageError: If it is none.
    """
    if not (written.isascii() and written.isdigit() and int(written) <= 65535):
        raise UsageError(f"{written!r} is no port")
    return int(written)


def to_app(target: Target, *, playground: bool, retention: Retention | None = None) -> Any:
    """Return the target's application, or one for its agents.

    Raises:
        UsageError: If an application is to keep to a retention that it was not made with.
    """
    if target.app is None:
        return create_app(target.agents, playground=playground, retention=retention)
    if retention is not None:
        raise UsageError("sessions of an application are removed as create_app(..., retention=...) says")
    return target.app


def check_exposure(app: Any, host: str) -> None:
    """Refuse to let everybody in from other machines.

    Raises:
        UsageError: If the host is not loopback and no secret key protects the sessions.
    """
    authority = getattr(getattr(app, "state", None), "authority", None)
    protected = bool(os.environ.get("CHATRT_SECRET_KEY")) if authority is None else authority.mints
    if not is_loopback(host) and not protected:
        raise UsageError(
            f"without a secret key only this machine is served: set CHATRT_SECRET_KEY to listen on {host}, "
            "or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
