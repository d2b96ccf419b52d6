"""SIGKILL in the middle of an upload: half a file is never there, and keeps no room."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from chatrt.stores.attachments import PIECE
from tests.served import Server

FILES = "/v1/sessions/c/attachments"


@pytest.fixture
def server(tmp_path):
    server = Server("chatrt.testing.playbook:app", tmp_path)
    server.start()
    yield server
    server.kill()


def test_half_a_file_is_gone(server):
    """What was acknowledged is there after the kill, byte for byte; what was on its way is not, and the next one fits."""
    whole = b"0123456789abcdef" * (3 * PIECE // 16)
    text = {"content-type": "text/plain"}
    with httpx.Client(base_url=server.url, timeout=30) as http:
        http.post("/v1/sessions", json={"agent": "playbook", "chatId": "c"})
        kept = http.post(FILES, content=whole, headers=text).json()

        # Nine files on their way, with this one, leave no room for another of the largest size.
        sockets = []
        for _ in range(9):
            half = socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port))
            head = f"POST {FILES} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/plain\r\ncontent-length: {20 * 2**20}\r\n\r\n"
            half.sendall(head.encode() + whole)
            sockets.append(half)
        while http.post(FILES, content=b"a" * 20 * 2**20, headers=text).status_code != 413:
            assert http.delete(f"{FILES}/{http.get(FILES).json()['attachments'][-1]['id']}").status_code == 204
        server.kill()
        for half in sockets:
            half.close()
        server.start()

        assert [file["id"] for file in http.get(FILES).json()["attachments"]] == [kept["id"]]
        assert http.get(kept["url"]).content == whole
        assert http.post(FILES, content=b"a" * 20 * 2**20, headers=text).status_code == 201
