"""What `tests.bench.scale` measures: some `chatrt serve` processes on a private PostgreSQL, and what each has cost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.bench.streams import cpu_seconds
from tests.postgres import PostgresServer
from tests.served import ROOT, free_port

START_SECONDS = 40
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What something took: CPU seconds of the workers and of PostgreSQL, the transactions that wrote something, and its log in bytes."""

    workers: float
    database: float
    transactions: int
    wal: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.workers - other.workers,
            self.database - other.database,
            self.transactions - other.transactions,
            self.wal - other.wal,
        )


class Fleet:
    """Some workers on one database.

    Attributes:
        urls: Where each of them is.
    """

    def __init__(self, server: PostgresServer, database: str, size: int) -> None:
        self._server = server
        self.url = database
        ports = [free_port() for _ in range(size)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        command = [sys.executable, "-m", "chatrt.cli", "serve", "tests/bench/scale_app.py:app", "--log-level", "error"]
        self._workers = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "CHATRT_STORE": database, "CHATRT_HOST": "127.0.0.1", "CHATRT_PORT": str(port)},
            )
            for port in ports
        ]

    async def ready(self) -> None:
        """Return when all of them answer."""
        end = time.monotonic() + START_SECONDS
        async with httpx.AsyncClient() as http:
            for url in self.urls:
                while True:
                    try:
                        (await http.get(f"{url}/readyz")).raise_for_status()
                        break
                    except httpx.HTTPError:
                        assert time.monotonic() < end, "a worker did not start"
                        await asyncio.sleep(0.05)

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(30)

    def memory(self) -> int:
        """Return the bytes that the workers hold in memory now."""
        pages = (int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) for worker in self._workers)
        return sum(pages) * os.sysconf("SC_PAGESIZE")

    async def cost(self) -> Cost:
        """Read what was spent so far."""
        connection = await asyncpg.connect(self.url)
        try:
            row: Any = await connection.fetchrow(
                "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_id, pg_current_wal_lsn() - '0/0'::pg_lsn AS wal"
            )
        finally:
            await connection.close()
        spent = sum(cpu_seconds(worker.pid) for worker in self._workers)
        return Cost(spent, _tree_seconds(self._server.pid), row["next_id"], int(row["wal"]))


def _tree_seconds(pid: int) -> float:
    """CPU time of a process, its children, and those of them that have ended, in ticks of the kernel."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
        if one == pid:
            total += int(fields[13]) + int(fields[14])  # those of children that it has waited for
    return total / TICKS


@contextmanager
def private_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server of its own."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
