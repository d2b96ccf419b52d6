"""The contract for object storage: where the bytes of files are kept outside of the session store.

An object is written once and never changes. Its name is made by the runtime and holds no text of a client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request that anybody may make until it expires.

    Attributes:
        headers: What has to be sent along, exactly so; the signature covers it.
        expires_at: In seconds since 1970.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is there: its size and, if the storage tells, its SHA-256 in hexadecimal."""

    size: int
    sha256: str | None = None


class Bucket(Protocol):
    """The contract. Methods that ask the storage raise `StoreUnavailableError` when it cannot be asked, or refuses."""

    def sign_upload(
        self, name: str, *, media_type: str, size: int, sha256: str | None, seconds: int, now: float
    ) -> SignedRequest:
        """Return a request that writes this object, of this type and size, and no other; nor again where one is."""
        ...

    def sign_download(self, name: str, *, media_type: str, disposition: str, seconds: int, now: float) -> SignedRequest:
        """Return a request that reads an object and is answered with this type and disposition."""
        ...

    async def put(
        self, name: str, data: AsyncIterator[bytes], *, media_type: str, size: int, sha256: str | None = None
    ) -> None:
        """Write an object of a known size; when this raises, there is none."""
        ...

    async def find(self, name: str) -> StoredObject | None:
        """Return what is known of an object, or None."""
        ...

    def read(self, name: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of an object from `start` up to `stop`.

        Raises:
            NotFoundError: While it is read, if there is no such object.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove an object; nothing happens where none is."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
