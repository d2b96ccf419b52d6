"""A real S3-compatible server, moto's, in a process of its own, and what a client sends to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import boto3
import httpx

from chatrt.stores.s3 import S3Bucket

_SERVE = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
import sys
sys.stdin.read()
server.stop()
"""
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI"}


@dataclass
class S3Server:
    """The server and its one bucket."""

    endpoint: str

    def bucket(self, name: str = "files/chats", **options) -> S3Bucket:
        return S3Bucket(name, **{"endpoint": self.endpoint, **KEYS, **options})

    @cached_property
    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["access_key_id"],
            aws_secret_access_key=KEYS["secret_access_key"],
        )

    def names(self) -> list[str]:
        """What is in the bucket."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket="files").get("Contents", [])]

    def clear(self) -> None:
        """Leave nothing for the next test."""
        for name in self.names():
            self.client.delete_object(Bucket="files", Key=name)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve until the block is left; takes some seconds to begin, so tests of one file share it."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        server = S3Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        server.client.create_bucket(Bucket="files")
        yield server
        process.stdin.close()


async def send(upload: dict, data: bytes) -> httpx.Response:
    """Do what a browser does with the answer to an announcement."""
    async with httpx.AsyncClient() as http:
        return await http.request(upload["method"], upload["url"], content=data, headers=upload["headers"])
