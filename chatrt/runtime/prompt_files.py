"""The files of one chat for the prompts of its turns."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from chatrt.errors import AttachmentNotFoundError
from chatrt.file_urls import find_own, symbol_id
from chatrt.generate.files import named_files, note, put_files
from chatrt.media_types import is_text
from chatrt.runtime.attachments import SessionAttachments
from chatrt.stores import Attachment, SessionKey
from chatrt.ui import ModelMessage


class PromptFiles:
    """Fills `TurnFiles`. What was read once stays in memory as long as this object: for a turn, with all its steps."""

    def __init__(self, key: SessionKey, attachments: SessionAttachments) -> None:
        self._key = key
        self._attachments = attachments
        self._read: dict[str, dict[str, Any]] = {}

    async def read(self, file: str | Mapping[str, Any]) -> bytes:
        """Return the bytes of a file; see `TurnFiles`."""
        url = file if isinstance(file, str) else str(file.get("url", ""))
        own = find_own(url)
        attachment_id = symbol_id(url) or (url if own is None else own.attachment_id)
        if own is not None and own.chat_id != self._key.chat_id:
            raise AttachmentNotFoundError(attachment_id)
        return await self._attachments.read_all(self._key, await self._attachments.get(self._key, attachment_id))

    async def fill(self, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
        """Return messages with the files that they name; see `TurnFiles`."""
        options = self._attachments.options
        found: dict[str, dict[str, Any]] = {}
        room = options.prompt_bytes
        for attachment_id in dict.fromkeys(named_files(messages)):
            try:
                row = await self._attachments.get(self._key, attachment_id)
                is_link = options.to_model == "link" and row.in_bucket and not is_text(row.media_type)
                if is_link:
                    url = self._attachments.sign_download(self._key, row).url
                    found[attachment_id] = {"type": "file", "mediaType": row.media_type, "data": _url(url)}
                elif row.size > min(options.model_bytes, room):
                    found[attachment_id] = _left_out(row)
                else:
                    room -= row.size
                    found[attachment_id] = await self._load(row)
            except AttachmentNotFoundError:
                continue  # deleted; the note says so
        return put_files(messages, found)

    async def _load(self, row: Attachment) -> dict[str, Any]:
        part = self._read.get(row.id)
        if part is None:
            part = self._read[row.id] = _as_part(row, await self._attachments.read_all(self._key, row))
        return part


def _as_part(row: Attachment, data: bytes) -> dict[str, Any]:
    if is_text(row.media_type):
        # Not every provider takes files of texts; every model reads.
        name = row.filename or "a file"
        return {
            "type": "text",
            "text": f"[{name} ({row.media_type}):]\n{data.decode(errors='replace')}\n[end of {name}]",
        }
    encoded = base64.b64encode(data).decode()
    return {"type": "file", "mediaType": row.media_type, "data": _url(f"data:{row.media_type};base64,{encoded}")}


def _left_out(row: Attachment) -> dict[str, Any]:
    name = row.filename or "a file"
    return note(f"{name} ({row.media_type}, {row.size} bytes) was attached here and is too large to be shown")


def _url(url: str) -> dict[str, Any]:
    return {"type": "url", "url": url}
