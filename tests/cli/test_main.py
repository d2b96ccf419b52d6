"""The command line itself: help, version, mistakes."""

from __future__ import annotations

import subprocess
import sys
import time

import chatrt as package


async def test_version(chatrt):
    """`chatrt version` prints the version."""
    done = await chatrt.run("version")
    assert (done.code, done.out, done.err) == (0, f"chatrt {package.__version__}\n", "")


async def test_help_lists_commands_and_exit_codes(chatrt):
    """`chatrt --help` names every command and what the exit codes mean."""
    done = await chatrt.run("--help")
    assert done.code == 0
    for word in ("dev", "serve", "chat", "openapi", "types", "version", "exit codes", "CHATRT_STORE"):
        assert word in done.out


def test_help_loads_nothing_heavy(tmp_path):
    """Help imports neither servers nor models nor HTTP clients."""
    code = """
import sys
from chatrt.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"litellm", "starlette", "uvicorn", "httpx", "pydantic", "asyncio"} & set(sys.modules)
print("heavy:", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_help_is_quick():
    """Help is there in less than 300 ms, the start of Python included."""
    took = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "chatrt.cli", "--help"], capture_output=True, check=True)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.3


async def test_no_command(chatrt):
    """Without a command the exit code is 2."""
    assert (await chatrt.run()).code == 2


async def test_unknown_command(chatrt):
    """An unknown command has exit code 2."""
    assert (await chatrt.run("dance")).code == 2
