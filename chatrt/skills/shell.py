"""Running a shell command with an end in time, an end in length, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chatrt.skills.files import decode_head

KEPT_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""What a command gets to know of this process' environment: the rest is where secrets are kept."""

LAST_READ_SECONDS = 1.0
"""How long output may still come once everybody is killed; only who left the process group could go on writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came of a command.

    Attributes:
        exit_code: Negative if a signal ended the shell; None if the time was over.
        stdout: What was written, cut with a notice.
        stderr: The same.
    """

    exit_code: int | None
    stdout: str
    stderr: str


class _Output:
    """One stream of a command: keeps the beginning, counts the rest.

    A pipe of its own: the process' end can then be awaited without waiting for who else may have inherited the pipe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._size = 0
        read_end, self.write_end = os.pipe()
        self._file = os.fdopen(read_end, "rb", buffering=0)
        self._transport: asyncio.ReadTransport | None = None
        self.done: asyncio.Task[None] | None = None

    async def open(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._file)
        self.done = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            self._size += len(data)
            self._head += data[: self._limit - len(self._head)]

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        self.close_write_end()
        if self.done is not None:
            self.done.cancel()
        if self._transport is None:
            self._file.close()
        else:
            self._transport.close()

    def text(self) -> str:
        return decode_head(bytes(self._head), self._size)


async def run_command(
    command: str, *, folder: Path, environment: Mapping[str, str], timeout: float, limit: int
) -> Finished:
    """Run a command with bash and wait for it.

    When it ends, when the time is over and when the caller is cancelled, everything in its process group is killed.

    Args:
        command: For `bash -c`; it reads nothing from standard input.
        folder: Where it runs.
        environment: Added to what is kept of the environment of this process.
        timeout: In seconds.
        limit: The bytes that are kept of each stream.

    Raises:
        OSError: If there is no bash here.
        ValueError: If the command holds a NUL.
    """
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    outputs = _Output(limit), _Output(limit)
    try:
        for output in outputs:
            await output.open()
        process = await _start(command, folder, {**kept, **environment}, outputs)
        for output in outputs:
            output.close_write_end()
        exit_code = await _wait(process, timeout)
        await asyncio.wait([output.done for output in outputs if output.done], timeout=LAST_READ_SECONDS)
    finally:
        for output in outputs:
            output.close()
    return Finished(exit_code=exit_code, stdout=outputs[0].text(), stderr=outputs[1].text())


async def _start(
    command: str, folder: Path, environment: Mapping[str, str], outputs: tuple[_Output, _Output]
) -> asyncio.subprocess.Process:
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=outputs[0].write_end,
            stderr=outputs[1].write_end,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It may have children by now. Left to itself, asyncio would end only the shell.
        with suppress(OSError, ValueError):
            await _kill(await starting)
        raise


async def _wait(process: asyncio.subprocess.Process, timeout: float) -> int | None:
    try:
        async with asyncio.timeout(timeout):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        await _kill(process)


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
