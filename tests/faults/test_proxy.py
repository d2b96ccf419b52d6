"""The fault proxy: each way of hurting a connection does what it says, no more and no less."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FaultProxy

SOON = 0.25
"""How long a silence has to last to count as one."""


class EchoServer:
    """Sends back what it gets, connection by connection, and remembers how each one ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.endings: list[str] = []
        self.ended = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        how = "eof"
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
                connection.sendall(b"bye")
            except OSError:
                how = "reset"
        with self.ended:
            self.endings.append(how)
            self.ended.notify_all()

    def next_ending(self) -> str:
        with self.ended:
            assert self.ended.wait_for(lambda: self.endings, 5)
            return self.endings.pop(0)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def proxy(echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy) -> Iterator[socket.socket]:
    with connect(proxy) as connection:
        yield connection


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SOON)
    try:
        return bool(connection.recv(1)) and False
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)


def test_everything_passes(proxy, connection):
    """Without a fault a megabyte comes back as it was, and the end of one side is told to the other."""
    sent = bytes(range(256)) * 4096
    threading.Thread(target=connection.sendall, args=(sent,)).start()
    assert read(connection, len(sent)) == sent
    connection.shutdown(socket.SHUT_WR)
    assert read(connection, 10) == b"bye"
    assert proxy.to_server.passed == len(sent)


def test_latency_is_added_each_way(proxy, connection):
    """What is late in both directions comes back after the sum, and what was sent one after the other keeps its order."""
    for way in proxy.ways:
        way.latency, way.jitter = 0.1, 0.05
    began = time.monotonic()
    for number in range(20):
        connection.sendall(b"%02d" % number)
    assert read(connection, 40) == b"".join(b"%02d" % number for number in range(20))
    assert 0.2 <= time.monotonic() - began < 1.0


def test_rate_is_a_bound(proxy, connection):
    """A connection carries no more bytes a second than it may."""
    proxy.to_client.rate = 20_000
    began = time.monotonic()
    connection.sendall(b"x" * 8000)
    read(connection, 8000)
    assert time.monotonic() - began >= 0.35


@pytest.mark.parametrize("after", [0, 1, 7, 9])
@pytest.mark.parametrize("how", ["close", "half-close"])
def test_cut_at_a_byte(proxy, connection, after, how):
    """A cut lets as many bytes pass as it says and not one more; the next connection is whole."""
    proxy.to_client.cut(after, how)
    connection.sendall(b"0123456789")
    assert read(connection, 10) == b"0123456789"[:after]
    assert proxy.to_client.cuts == 1
    with connect(proxy) as other:
        other.sendall(b"whole")
        assert read(other, 5) == b"whole"


def test_cut_with_a_reset(proxy, echo, connection):
    """A cut by RST is an error at both ends."""
    proxy.to_client.cut(4, "reset")
    connection.sendall(b"0123456789")
    with pytest.raises(ConnectionResetError):
        read(connection, 10)
    assert echo.next_ending() == "reset"


def test_reset_of_everything(proxy, echo, connection):
    """Every open connection is reset at once."""
    connection.sendall(b"x")
    read(connection, 1)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert echo.next_ending() == "reset"
    assert proxy.open_connections == 0


def test_half_close(proxy, echo, connection):
    """A server that is told the end of its client can still answer."""
    connection.sendall(b"x")
    read(connection, 1)
    proxy.half_close(to_client=False)
    assert read(connection, 10) == b"bye"
    assert echo.next_ending() == "eof"


def test_black_hole_both_ways(proxy, connection):
    """In a black hole connections stay, new ones are taken, nothing comes; afterwards all that was held does."""
    proxy.black_hole()
    connection.sendall(b"old")
    with connect(proxy) as new:
        new.sendall(b"new")
        assert is_silent(connection)
        assert is_silent(new)
        assert proxy.to_server.passed == 0
        proxy.heal()
        assert read(connection, 3) == b"old"
        assert read(new, 3) == b"new"


def test_black_hole_one_way(proxy, connection):
    """When only the answers are lost, the questions arrive."""
    proxy.to_client.black_hole()
    connection.sendall(b"heard")
    assert is_silent(connection)
    assert proxy.to_server.passed == 5
    proxy.heal()
    assert read(connection, 5) == b"heard"


def test_a_hole_at_a_byte(proxy, connection):
    """A connection can fall silent at a byte, and go on there."""
    proxy.to_client.cut(2, "hole")
    connection.sendall(b"0123")
    assert read(connection, 2) == b"01"
    assert is_silent(connection)
    proxy.heal()
    assert read(connection, 2) == b"23"


def test_refusing(proxy, connection):
    """While it refuses nobody new comes in, and who is in stays."""
    connection.sendall(b"x")
    read(connection, 1)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    connection.sendall(b"y")
    assert read(connection, 1) == b"y"
    proxy.accept()
    with connect(proxy) as new:
        new.sendall(b"z")
        assert read(new, 1) == b"z"
