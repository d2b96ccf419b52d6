"""What some fault tests need of the machine; where it is missing they are skipped, and pytest's last lines say why."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def skip(reason: str) -> None:
    """Skip the test; the reason stands in the summary of every run."""
    pytest.skip(f"NOT TESTED HERE: {reason}")


def need_root(what: str) -> None:
    """Skip a test whose machinery only root may set up."""
    if os.geteuid() != 0:
        skip(f"{what} needs root")


def need_program(name: str, package: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name)
    if path is None:
        skip(f"{name} is missing (apt-get install {package})")
    return str(path)


def need_strace() -> str:
    """Return the path of strace, if it may trace here."""
    strace = need_program("strace", "strace")
    tried = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        skip(f"strace may not trace: {tried.stderr.strip()}")
    return strace


def run(*command: str) -> None:
    """Run a command that sets something up; skip where the machine does not allow it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        skip(f"{' '.join(command)}: {done.stderr.strip()}")
