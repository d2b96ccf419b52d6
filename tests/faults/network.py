"""Machines of their own on one machine: network namespaces for servers and a database, with a cable between each two."""

from __future__ import annotations

import os
import subprocess
from typing import Self

from tests.faults.needs import need_program, need_root, run


class Network:
    """A database and some servers, each a namespace of its own; everybody who tests stands in the middle.

    There is one cable from here to each server, for clients, and one from each server to the database.
    """

    def __init__(self, *servers: str) -> None:
        need_root("a network namespace")
        need_program("ip", "iproute2")
        self._id = os.getpid() % 30_000
        self._subnet = f"10.{200 + self._id % 50}"
        self._servers = servers
        self._made: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._namespace("db")
            for number, name in enumerate(self._servers, 1):
                self._namespace(name)
                self._cable(name, f"{self._subnet}.{number}", here=None)
                self._cable(name, f"{self._subnet}.{100 + number}", here="db")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    @property
    def trusted(self) -> str:
        """The network of all of them."""
        return f"{self._subnet}.0.0/16"

    def prefix(self, name: str) -> list[str]:
        """What runs a command there."""
        return ["ip", "netns", "exec", self._full(name)]

    def address(self, name: str) -> str:
        """Where a server is found from here."""
        return f"{self._subnet}.{self._servers.index(name) + 1}.2"

    def database_for(self, name: str) -> str:
        """Where a server finds the database."""
        return f"{self._subnet}.{101 + self._servers.index(name)}.1"

    def cut(self, name: str) -> None:
        """Pull the cable between a server and the database: nothing is told to either of them."""
        run(*self.prefix("db"), "ip", "link", "set", self._end(name, "d"), "down")

    def mend(self, name: str) -> None:
        """Plug it in again."""
        run(*self.prefix("db"), "ip", "link", "set", self._end(name, "d"), "up")

    # --- inside

    def _full(self, name: str) -> str:
        return f"chatrt-{self._id}-{name}"

    def _end(self, name: str, side: str) -> str:
        return f"c{self._id}{name}{side}"  # 15 characters at most

    def _namespace(self, name: str) -> None:
        run("ip", "netns", "add", self._full(name))
        self._made.append(name)
        run(*self.prefix(name), "ip", "link", "set", "lo", "up")

    def _cable(self, name: str, subnet: str, *, here: str | None) -> None:
        mine, theirs = (
            (self._end(name, "h"), self._end(name, "i"))
            if here is None
            else (self._end(name, "d"), self._end(name, "e"))
        )
        there = [] if here is None else self.prefix(here)
        run("ip", "link", "add", mine, "type", "veth", "peer", "name", theirs)
        if here is not None:
            run("ip", "link", "set", mine, "netns", self._full(here))
        run("ip", "link", "set", theirs, "netns", self._full(name))
        for prefix, end, address in ((there, mine, 1), (self.prefix(name), theirs, 2)):
            run(*prefix, "ip", "address", "add", f"{subnet}.{address}/24", "dev", end)
            run(*prefix, "ip", "link", "set", end, "up")

    def _remove(self) -> None:
        for name in self._made:
            subprocess.run(["ip", "netns", "del", self._full(name)], check=False, capture_output=True)
        for name in self._servers:
            subprocess.run(["ip", "link", "del", self._end(name, "h")], check=False, capture_output=True)
