"""`chatrt dev`: serve with the chat page, and start again whenever a file changes."""

from __future__ import annotations

import argparse
import os
from typing import Any

import uvicorn

from chatrt.cli.listen import check_exposure, is_loopback, read_options, to_app
from chatrt.cli.target import load, locate
from chatrt.errors import UsageError

TARGET_VARIABLE = "CHATRT_DEV_TARGET"
"""How the process that is started anew with each change learns what to serve."""


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; a target that cannot be imported is tried again after the next change.

    Raises:
        UsageError: If the target is not written as one, or the host is not this machine and there is no secret key.
    """
    listening = read_options(options)
    location = locate(options.target)
    if not is_loopback(listening.host):
        check_exposure(None, listening.host)
    os.environ[TARGET_VARIABLE] = options.target
    uvicorn.run(
        f"{__name__}:create_application",
        factory=True,
        reload=True,
        reload_dirs=[str(location.folder)],
        host=listening.host,
        port=listening.port,
        log_level=listening.log_level,
        timeout_graceful_shutdown=1,
    )
    return 0


def create_application() -> Any:
    """Return the application of the target that `run` was given; called in each new process.

    Raises:
        SystemExit: If the target cannot be imported, with one sentence that says why.
    """
    try:
        return to_app(load(os.environ[TARGET_VARIABLE]), playground=True)
    except UsageError as error:
        raise SystemExit(f"chatrt: {error}") from error
