"""URLs of files in messages: which ones are let in, and which ones name a file of the chat.

The server fetches no URL of a message, ever. A foreign one is handed on to the model's provider, or to the library that
calls it, which may fetch it from where this server stands; so none is let in that the application did not name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from pydantic_core import Url, ValidationError

from chatrt.errors import URLNotAllowedError

SCHEME = "chatrt-attachment:"
"""Begins the URL by which a prompt names a file of its chat."""

_OWN = re.compile(r"((?:/[A-Za-z0-9._~%-]+)*)/v1/sessions/([^/?#\s\\]+)/attachments/([A-Za-z0-9_-]{1,64})")
_PLAIN = re.compile(r"https://[^\\\x00-\x1f\x7f]+", re.IGNORECASE)
_DATA = re.compile(r"data:([a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)?(;[a-z0-9-]+=[^;,]*)*(;base64)?,", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileURLs:
    """Which URLs the file parts of a user message may have, beside those of the chat's own files.

    Attributes:
        hosts: Hosts whose `https` URLs are handed on: `cdn.example.com`, `*.example.com` (any name below it), or `*`
            (any public name, no addresses). Whoever is named is trusted with being fetched from this machine.
        data_bytes: The longest `data:` URL; 0 for none.
    """

    hosts: Sequence[str] = ()
    data_bytes: int = 1024 * 1024

    def check(self, url: str, *, chat_id: str) -> str:
        """Return a URL as it is stored: that of an own file as its path, a foreign one as browsers would write it.

        Raises:
            URLNotAllowedError: If it is not let in.
        """
        scheme = url[:8].partition(":")[0].lower()
        own = find_own(url)
        if own is not None:
            if own.chat_id != chat_id:
                raise URLNotAllowedError("it names a file of another chat")
            return own.path
        match scheme:
            case "data":
                return self._check_data(url)
            case "https":
                return self._check_foreign(url)
            case _:
                raise URLNotAllowedError("a file is one of the chat's own, a data: URL, or on a host that is let in")

    def _check_data(self, url: str) -> str:
        if len(url) > self.data_bytes:
            raise URLNotAllowedError(f"a data: URL has at most {self.data_bytes} characters; upload the file")
        if _DATA.match(url) is None:
            raise URLNotAllowedError("not a data: URL")
        return url

    def _check_foreign(self, url: str) -> str:
        if _PLAIN.fullmatch(url) is None:
            raise URLNotAllowedError("not a URL as one writes it")  # parsers would not agree on it
        try:
            parsed = Url(url)
        except ValidationError:
            raise URLNotAllowedError("not a URL") from None
        host, has_port = parsed.host or "", parsed.port not in (None, 443)
        if parsed.scheme != "https" or parsed.username or parsed.password or has_port or not self._is_let_in(host):
            raise URLNotAllowedError("files are not taken from this host")
        return str(parsed)

    def _is_let_in(self, host: str) -> bool:
        for pattern in self.hosts:
            wanted = pattern.lower()
            if wanted == host:
                return True
            if wanted == "*" and _is_public_name(host):
                return True
            if wanted.startswith("*.") and host.endswith(wanted[1:]) and len(host) > len(wanted) - 1:
                return True
        return False


LET_IN = FileURLs()
"""What is let in where an application says nothing: the chat's own files, and `data:` URLs."""

_PRIVATE_ENDS = frozenset({"localhost", "local", "internal", "localdomain", "lan", "home", "corp", "intranet", "arpa"})


def _is_public_name(host: str) -> bool:
    if host.startswith("[") or host.endswith(".") or "." not in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.rpartition(".")[2] not in _PRIVATE_ENDS
    return False


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A URL that names a file of a chat.

    Attributes:
        path: The URL without its host and its query: what is stored.
    """

    chat_id: str
    attachment_id: str
    path: str


def own_url(chat_id: str, attachment_id: str, *, root: str = "") -> str:
    """Return the path of a file of a chat; `root` is where the application is mounted."""
    # A segment of dots alone would be read as a step up the path.
    name = quote(chat_id, safe="") if chat_id.strip(".") else chat_id.replace(".", "%2E")
    return f"{root}/v1/sessions/{name}/attachments/{attachment_id}"


def find_own(url: str) -> OwnFile | None:
    """Return which file a URL names, or None if that of no chat.

    The host does not count and is dropped: a file is looked for in the chat of the message, wherever the URL points.
    """
    path = url
    if not url.startswith("/"):
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            return None
        path = "/" + rest.partition("/")[2]
    path = path.partition("#")[0].partition("?")[0]
    match = _OWN.fullmatch(path)
    if match is None or any(segment.strip(".") == "" for segment in match[1].split("/")[1:]):
        return None
    return OwnFile(unquote(match[2]), match[3], path)


def to_symbol(url: str) -> str | None:
    """Return how a prompt names the file that a URL names, or None if it names none."""
    own = find_own(url) if url.startswith("/") else None
    return None if own is None else SCHEME + own.attachment_id


def symbol_id(url: object) -> str | None:
    """Return the id of the file that a prompt names, or None."""
    return url.removeprefix(SCHEME) if isinstance(url, str) and url.startswith(SCHEME) else None
