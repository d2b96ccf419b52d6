"""Files of sessions: taken in piece by piece under the limits, looked at, kept, referred to, and taken away."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from chatrt.attachments import Attachments
from chatrt.clock import Clock
from chatrt.errors import (
    AttachmentNotFoundError,
    InvalidAttachmentError,
    InvalidInputError,
    RequestTimeoutError,
    TooLargeError,
    UnsupportedTypeError,
    UsageError,
)
from chatrt.file_urls import find_own
from chatrt.ids import Ids
from chatrt.media_types import HEAD, TypeCheck, clean_filename, content_disposition, is_text, parse_media_type
from chatrt.stores import Attachment, AttachmentStore, SessionKey
from chatrt.stores.attachments import PIECE
from chatrt.stores.bucket import Bucket, SignedRequest
from chatrt.ui import UIMessage, UIPart

GRACE_SECONDS = 60.0
"""How much longer than it may take an upload keeps its place, for what comes behind its last byte."""


class SessionAttachments:
    """The files of all sessions of one session manager.

    Args:
        options: What the application says about them.
        store: Where they are kept; None where the session store keeps none.
        clock: For timestamps.
        ids: For their ids.
    """

    def __init__(self, options: Attachments, store: AttachmentStore | None, clock: Clock, ids: Ids) -> None:
        self.options = options
        self._store = store
        self._clock = clock
        self._ids = ids

    # --- in

    async def upload(
        self,
        key: SessionKey,
        data: AsyncIterator[bytes],
        *,
        media_type: str | None = None,
        filename: str | None = None,
        size: int | None = None,
    ) -> Attachment:
        """Take a file in; it is durable, and of its type, when this returns. Whatever ends it early leaves nothing.

        Args:
            key: The session.
            data: The bytes.
            media_type: What it is said to be; without one its first bytes decide.
            filename: Its name.
            size: How many bytes come, if that is known.

        Raises:
            SessionNotFoundError: If there is no such session.
            SessionClosedError: If it is closed.
            AttachmentLimitError: If it holds too much already.
            TooLargeError: If the file is.
            UnsupportedTypeError: If its type is not taken, or it is not of this type.
            InvalidAttachmentError: If it is empty, or not as long as was said.
            RequestTimeoutError: If it takes too long.
        """
        check = TypeCheck(parse_media_type(media_type), self.options.types)
        if size is not None:
            self._check_size(size)
        elif self.options.bucket is not None:
            raise InvalidAttachmentError("the length of the file must be said", path="content-length")
        new = self._new(check.media_type, filename, size, in_bucket=self.options.bucket is not None)
        await self._begin(key, new)
        try:
            intake = _Intake(data, check, size=size, max_bytes=self.options.max_bytes)
            async with asyncio.timeout(self.options.upload_seconds):
                await self._keep(key, new, intake)
            return await self._kept.finish(
                key, new.id, media_type=check.media_type, size=intake.size, sha256=intake.digest.hexdigest()
            )
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self._remove(key, new)))
            if isinstance(error, TimeoutError):
                raise RequestTimeoutError(f"the file took more than {self.options.upload_seconds:g} s") from None
            raise

    async def _keep(self, key: SessionKey, new: Attachment, intake: _Intake) -> None:
        if self.options.bucket is not None:
            pieces = intake.read()
            # The type is known by the first bytes, and the bucket has to be told before.
            first = await anext(pieces)
            await self.options.bucket.put(
                _object_name(key, new.id), _chained(first, pieces), media_type=intake.check.media_type, size=new.size
            )
            return
        index, waiting = 0, bytearray()
        async for piece in intake.read():
            waiting += piece
            while len(waiting) >= PIECE:
                await self._kept.write(key, new.id, index, bytes(waiting[:PIECE]))
                del waiting[:PIECE]
                index += 1
        if waiting:
            await self._kept.write(key, new.id, index, bytes(waiting))

    async def announce(
        self, key: SessionKey, *, media_type: str, size: int, filename: str | None = None, sha256: str | None = None
    ) -> tuple[Attachment, SignedRequest]:
        """Keep a place for a file that a client sends to the bucket by itself, and sign the request for it.

        Raises:
            InvalidInputError: If there is no bucket.
            ChatrtError: What `upload` raises.
        """
        bucket = self.options.bucket
        if bucket is None:
            raise InvalidInputError("files are not kept in a bucket here: send the bytes, with their own content-type")
        declared = parse_media_type(media_type)
        if not declared:
            raise UnsupportedTypeError("the type of the file must be said", path="/mediaType")
        TypeCheck(declared, self.options.types)
        self._check_size(size)
        new = self._new(declared, filename, size, in_bucket=True, sha256=sha256)
        signed = bucket.sign_upload(
            _object_name(key, new.id),
            media_type=declared,
            size=size,
            sha256=sha256,
            seconds=self.options.link_seconds,
            now=new.created_at,
        )
        await self._begin(key, new)
        return new, signed

    async def complete(self, key: SessionKey, attachment_id: str) -> Attachment:
        """Look at what a client has sent to the bucket and make it ready; what is not as announced is removed.

        Raises:
            AttachmentNotFoundError: If nothing was announced by this id.
            InvalidAttachmentError: If it did not arrive yet, or is not the file that was announced.
            UnsupportedTypeError: If it is not of the announced type.
        """
        row = await self._kept.find(key, attachment_id)
        if row is not None and row.status == "ready":
            return row
        bucket = self.options.bucket
        if row is None or bucket is None or not row.in_bucket:
            raise AttachmentNotFoundError(attachment_id)
        name = _object_name(key, row.id)
        found = await bucket.find(name)
        if found is None:
            raise InvalidAttachmentError("the file has not arrived yet")
        try:
            if found.size != row.size:
                raise InvalidAttachmentError(f"the file has {found.size} bytes and was to have {row.size}")
            sha256 = await self._inspect(bucket, name, row, found.sha256)
        except InvalidInputError:
            await self._remove(key, row)
            raise
        try:
            return await self._kept.finish(key, row.id, media_type=row.media_type, size=row.size, sha256=sha256)
        except AttachmentNotFoundError:
            return await self.get(key, row.id)  # somebody else has completed it meanwhile

    async def _inspect(self, bucket: Bucket, name: str, row: Attachment, told: str | None) -> str | None:
        """Check the type of an object and its digest, and return the digest; reads no more of it than is needed."""
        check = TypeCheck(row.media_type, self.options.types)
        if is_text(row.media_type) or (row.sha256 is not None and told is None):
            intake = _Intake(bucket.read(name), check, size=row.size, max_bytes=row.size)
            async for _ in intake.read():
                pass
            told = intake.digest.hexdigest()
        else:
            check.begin(b"".join([piece async for piece in bucket.read(name, stop=HEAD)])[:HEAD])
        if row.sha256 is not None and told != row.sha256:
            raise InvalidAttachmentError("the file is not the one that was announced: its digest differs")
        return told

    # --- out

    async def get(self, key: SessionKey, attachment_id: str) -> Attachment:
        """Return what is known of a ready file.

        Raises:
            AttachmentNotFoundError: If there is none of that id.
        """
        row = None if self._store is None else await self._store.find(key, attachment_id)
        if row is None or row.status != "ready":
            raise AttachmentNotFoundError(attachment_id)
        return row

    async def find_all(self, key: SessionKey) -> list[Attachment]:
        """Return the ready files of a session, oldest first."""
        rows = [] if self._store is None else await self._store.find_all(key)
        return [row for row in rows if row.status == "ready"]

    async def read(
        self, key: SessionKey, row: Attachment, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a ready file, wherever they are.

        Raises:
            AttachmentNotFoundError: While it is read, if it is gone.
        """
        end = row.size if stop is None else min(stop, row.size)
        if row.in_bucket:
            bucket = self._bucket_of(row)
            pieces = bucket.read(_object_name(key, row.id), start=start, stop=end)
        else:
            pieces = self._kept.read(key, row.id, start=start, stop=end)
        async for piece in pieces:
            yield piece

    async def read_all(self, key: SessionKey, row: Attachment) -> bytes:
        """Return all bytes of a ready file; raises what `read` does."""
        return b"".join([piece async for piece in self.read(key, row)])

    def sign_download(self, key: SessionKey, row: Attachment) -> SignedRequest:
        """Return a request that reads a file from the bucket, where it is."""
        return self._bucket_of(row).sign_download(
            _object_name(key, row.id),
            media_type=row.media_type,
            disposition=content_disposition(row.media_type, row.filename),
            seconds=self.options.link_seconds,
            now=self._clock.now(),
        )

    async def accept(self, key: SessionKey, message: UIMessage) -> UIMessage:
        """Return a user message whose parts say of the chat's own files what is known of them.

        Raises:
            AttachmentNotFoundError: If a part names a file that the chat has not.
        """
        parts = [await self._accept_part(key, part) for part in message["parts"]]
        if all(new is old for new, old in zip(parts, message["parts"], strict=True)):
            return message
        return cast("UIMessage", {**message, "parts": parts})

    async def _accept_part(self, key: SessionKey, part: UIPart) -> UIPart:
        own = find_own(part["url"]) if part["type"] == "file" else None
        if own is None:
            return part
        row = await self.get(key, own.attachment_id)
        named: dict[str, Any] = {} if row.filename is None or part.get("filename") else {"filename": row.filename}
        return cast("UIPart", {**cast("dict[str, Any]", part), "mediaType": row.media_type, **named})

    # --- away

    async def delete(self, key: SessionKey, attachment_id: str) -> bool:
        """Remove a file, ready or not; messages that name it stay as they are. False if there was none."""
        row = None if self._store is None else await self._store.find(key, attachment_id)
        if row is None:
            return False
        await self._remove(key, row)
        return True

    async def delete_all(self, key: SessionKey) -> None:
        """Remove what a bucket has of a session; what the store has goes with the session itself."""
        await self.forget(key, await self.find_in_bucket(key))

    async def find_in_bucket(self, key: SessionKey) -> list[Attachment]:
        """Return what a bucket has of a session."""
        if self._store is None or self.options.bucket is None:
            return []
        return [row for row in await self._store.find_all(key) if row.in_bucket]

    async def forget(self, key: SessionKey, found: Sequence[Attachment]) -> None:
        """Remove these from the bucket; their session may be gone by now."""
        for row in found:
            await self._remove(key, row)

    async def aclose(self) -> None:
        """Close the connections to the bucket."""
        if self.options.bucket is not None:
            await self.options.bucket.aclose()

    # --- inside

    @property
    def _kept(self) -> AttachmentStore:
        if self._store is None:
            raise InvalidInputError("the store of this server keeps no files")
        return self._store

    def _bucket_of(self, row: Attachment) -> Bucket:
        if self.options.bucket is None:
            raise UsageError(f"attachment {row.id!r} is in a bucket, and there is none any more")
        return self.options.bucket

    def _check_size(self, size: int) -> None:
        if size > self.options.max_bytes:
            raise TooLargeError(f"more than {self.options.max_bytes} bytes")
        if size < 1:
            raise InvalidAttachmentError("the file is empty")

    def _new(
        self, media_type: str, filename: str | None, size: int | None, *, in_bucket: bool, sha256: str | None = None
    ) -> Attachment:
        now = self._clock.now()
        return Attachment(
            id=self._ids.new("att"),
            media_type=media_type,
            filename=clean_filename(filename),
            size=self.options.max_bytes if size is None else size,
            sha256=sha256,
            created_at=now,
            expires_at=now + max(self.options.upload_seconds, self.options.link_seconds) + GRACE_SECONDS,
            in_bucket=in_bucket,
        )

    async def _begin(self, key: SessionKey, new: Attachment) -> None:
        options = self.options
        expired = await self._kept.begin(key, new, max_count=options.max_count, max_total=options.max_total)
        for row in expired:
            if row.in_bucket and options.bucket is not None:
                await options.bucket.delete(_object_name(key, row.id))

    async def _remove(self, key: SessionKey, row: Attachment) -> None:
        # The object first: what has a row is found again.
        if row.in_bucket and self.options.bucket is not None:
            await self.options.bucket.delete(_object_name(key, row.id))
        await self._kept.delete(key, row.id)


class _Intake:
    """Bytes on their way in: counted, digested and held against their type.

    Attributes:
        size: How many have come.
        digest: Of these.
    """

    def __init__(self, data: AsyncIterator[bytes], check: TypeCheck, *, size: int | None, max_bytes: int) -> None:
        self.check = check
        self.size = 0
        self.digest = hashlib.sha256()
        self._data = data
        self._wanted = size
        self._max_bytes = max_bytes

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the bytes; nothing before the type is known by the first of them."""
        head: bytearray | None = bytearray()
        async for piece in self._data:
            self._count(piece)
            if head is not None:
                head += piece
                if len(head) < HEAD:
                    continue
                self.check.begin(bytes(head[:HEAD]))
                piece, head = bytes(head), None
            self.check.feed(piece)
            yield piece
        if not self.size:
            raise InvalidAttachmentError("the file is empty")
        if self._wanted is not None and self.size != self._wanted:
            raise InvalidAttachmentError(f"{self.size} bytes came of {self._wanted}")
        if head is not None:
            self.check.begin(bytes(head))
            self.check.feed(bytes(head))
            self.check.finish()
            yield bytes(head)
        else:
            self.check.finish()

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        self.digest.update(piece)
        if self.size > self._max_bytes:
            raise TooLargeError(f"more than {self._max_bytes} bytes")
        if self._wanted is not None and self.size > self._wanted:
            raise InvalidAttachmentError(f"more than the {self._wanted} bytes that were announced")


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _object_name(key: SessionKey, attachment_id: str) -> str:
    """Names of objects hold no text of a client, and those of a session stand together."""
    folder = hashlib.sha256(f"{key.tenant}\0{key.chat_id}".encode()).hexdigest()[:32]
    return f"{folder}/{attachment_id}"
