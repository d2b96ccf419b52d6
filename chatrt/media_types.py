"""What a file is: its declared type held against its first bytes, and its name made harmless.

Nothing is ever unpacked or decoded beyond that. A type that is known here must begin as its kind does; a text must be
one to its last byte. Types that browsers run as programs (HTML, SVG) are among no defaults.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Collection
from urllib.parse import quote, unquote_to_bytes

from chatrt.errors import UnsupportedTypeError

HEAD = 1024
"""How many bytes of a file are looked at to tell its type."""

MAX_FILENAME_BYTES = 200

DEFAULT_TYPES = (
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "application/pdf",
    "text/plain",
    "text/markdown",
    "text/csv",
    "application/json",
    "audio/wav",
    "audio/mpeg",
    "video/mp4",
)
"""What may be uploaded where an application says nothing else."""

INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Types that a browser may show at their own address: pictures made of pixels."""

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "text/x-markdown": "text/markdown",
    "application/x-pdf": "application/pdf",
}
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_TEXTS = frozenset({"application/json", "application/yaml", "application/xml", "application/x-ndjson", "image/svg+xml"})
_PAGE = re.compile(
    rb"(?:<\?xml[^>]*>|<!--(?:(?!-->).)*-->|\s)*<(!doctype\s+(?:html|svg)|html|svg|head|body|script|iframe)\b",
    re.IGNORECASE | re.DOTALL,
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_ZIP = "application/zip"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


_PICTURES = frozenset({b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"})
"""Kinds of pictures that are kept in the same boxes as films."""


def _riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


def _is_mpeg_audio(head: bytes) -> bool:
    return head[:3] == b"ID3" or (len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] not in _PICTURES


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "image/png": lambda head: head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR",
    "image/jpeg": _begins(b"\xff\xd8\xff"),
    "image/gif": _begins(b"GIF87a", b"GIF89a"),
    "image/webp": _riff(b"WEBP"),
    "image/bmp": _begins(b"BM"),
    "image/tiff": _begins(b"II*\x00", b"MM\x00*"),
    "application/pdf": _begins(b"%PDF-"),
    "audio/wav": _riff(b"WAVE"),
    "audio/ogg": _begins(b"OggS"),
    "audio/flac": _begins(b"fLaC"),
    "video/webm": _begins(b"\x1a\x45\xdf\xa3"),
    "video/mp4": _is_mp4,
    "audio/mp4": _is_mp4,
    "application/gzip": _begins(b"\x1f\x8b"),
    _ZIP: _begins(b"PK\x03\x04", b"PK\x05\x06"),
    "audio/mpeg": _is_mpeg_audio,
}
_ZIPPED = re.compile(r"application/(vnd\.(openxmlformats-officedocument|oasis\.opendocument)\.[a-z.-]+|epub\+zip)")


def parse_media_type(header: str | None) -> str:
    """Return a media type in lower case and without parameters; empty where nothing, or nothing definite, is declared.

    Raises:
        UnsupportedTypeError: If it is no media type.
    """
    declared = (header or "").partition(";")[0].strip().lower()
    if declared in _UNTOLD:
        return ""
    if _TYPE.fullmatch(declared) is None:
        raise UnsupportedTypeError("not a media type", path="content-type")
    return _ALIASES.get(declared, declared)


def is_text(media_type: str) -> bool:
    """Tell whether files of a type are texts."""
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml"))


class TypeCheck:
    """Holds a file against the type that it is declared as, piece by piece.

    Args:
        declared: As `parse_media_type` gives it; empty lets the first bytes decide.
        allowed: The types that are taken.

    Raises:
        UnsupportedTypeError: If the declared type is not taken.
    """

    def __init__(self, declared: str, allowed: Collection[str]) -> None:
        if declared and declared not in allowed:
            raise UnsupportedTypeError(f"{declared} is not taken here", path="content-type")
        self._declared = declared
        self._allowed = allowed
        self._decoder: codecs.IncrementalDecoder | None = None
        self.media_type = declared

    def begin(self, head: bytes) -> None:
        """Look at the first bytes of the file: `HEAD` of them, or all where there are fewer.

        Raises:
            UnsupportedTypeError: If they are not those of the declared type, or of none that is taken.
        """
        found = self._detect(head)
        if not self._declared:
            if found not in self._allowed:
                raise UnsupportedTypeError(
                    "say the type of the file; this one is not known or not taken here", path="content-type"
                )
            self.media_type = found
        elif not self._fits(found, head):
            raise UnsupportedTypeError(f"the file is not {self._declared}", path="content-type")
        if is_text(self.media_type):
            self._decoder = codecs.getincrementaldecoder("utf-8")()

    def feed(self, piece: bytes) -> None:
        """Look at the next bytes, from the first on.

        Raises:
            UnsupportedTypeError: If a text is none after all.
        """
        self._decode(piece, final=False)

    def finish(self) -> None:
        """Look at the end; raises what `feed` does."""
        self._decode(b"", final=True)

    def _decode(self, piece: bytes, *, final: bool) -> None:
        if self._decoder is None:
            return
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError:
            raise UnsupportedTypeError("a text is UTF-8", path="content-type") from None
        if _CONTROLS.search(text):
            raise UnsupportedTypeError("a text has no control characters", path="content-type")

    def _detect(self, head: bytes) -> str:
        for media_type, is_one in _SIGNATURES.items():
            if is_one(head):
                return media_type
        if _PAGE.match(head.removeprefix(codecs.BOM_UTF8)):
            return "text/html"
        return "text/plain" if _could_be_text(head) else ""

    def _fits(self, found: str, head: bytes) -> bool:
        declared = self._declared
        if declared in _SIGNATURES:
            return _SIGNATURES[declared](head)
        if _ZIPPED.fullmatch(declared):
            return found == _ZIP
        if is_text(declared):
            return found == "text/plain" or (found == "text/html" and _may_be_page(declared))
        # A type of the application's own: whatever it is, it is nothing that is known by its first bytes.
        return found in {"", "text/plain"}


def _may_be_page(declared: str) -> bool:
    return declared in {"text/html", "image/svg+xml", "application/xml", "text/xml"} or declared.endswith("+xml")


def _could_be_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return False
    return _CONTROLS.search(text) is None


# --- names


def clean_filename(name: str | None) -> str | None:
    """Return the last part of a name without what could mislead a person, a path or a header; None if that is all."""
    if name is None:
        return None
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    # Line ends, NUL, the marks that turn the direction of a text, and half pairs are all among these categories.
    spaced = re.sub(r"[\t\n\r]", " ", last)
    kept = "".join(char for char in spaced if unicodedata.category(char) not in _UNSEEN)
    kept = " ".join(kept.split()).strip(". ")
    return _shortened(kept) or None


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_FILENAME_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = name, "", ""
    room = MAX_FILENAME_BYTES - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def filename_of_headers(x_filename: str | None, disposition: str | None) -> str | None:
    """Return the cleaned name of an upload.

    Args:
        x_filename: `X-Filename`: the name, percent-encoded UTF-8.
        disposition: `Content-Disposition`: its `filename*` (RFC 8187) or `filename`.
    """
    if x_filename is not None:
        return clean_filename(_percent_decoded(x_filename))
    if disposition is None:
        return None
    extended = re.search(r"(?:^|;)\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;]*)", disposition, re.IGNORECASE)
    if extended:
        raw = unquote_to_bytes(extended[2].strip().strip('"'))
        return clean_filename(raw.decode(extended[1].lower(), errors="replace"))
    quoted = re.search(r'(?:^|;)\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"', disposition, re.IGNORECASE)
    if quoted:
        return clean_filename(_as_utf8(re.sub(r"\\(.)", r"\1", quoted[1])))
    plain = re.search(r"(?:^|;)\s*filename\s*=\s*([^;\s\"]+)", disposition, re.IGNORECASE)
    return clean_filename(_as_utf8(plain[1])) if plain else None


def content_disposition(media_type: str, filename: str | None) -> str:
    """Return how a file is served: pictures may be shown where they are, everything else is saved."""
    kind = "inline" if media_type in INLINE_TYPES else "attachment"
    if filename is None:
        return kind
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", filename)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _percent_decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode(errors="replace")


def _as_utf8(text: str) -> str:
    """Headers come as Latin-1; browsers put UTF-8 into them."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
