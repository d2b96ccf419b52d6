"""Small files of several kinds, true and lying ones, for tests of attachments."""

from __future__ import annotations

import base64
import zlib

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + b"\x00" * 32 + b"\xff\xd9"
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L" + b"\x00" * 16
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 28
MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\x00" * 16
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42"
ZIP = b"PK\x03\x04\x14\x00\x00\x00" + b"\x00" * 32
GZIP = b"\x1f\x8b\x08\x00" + b"\x00" * 16
EXE = b"MZ\x90\x00\x03\x00\x00\x00" + b"\x00" * 32
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
XML_SVG = b'<?xml version="1.0"?>\n<!-- a picture -->\n' + SVG

PNG_WITH_PAGE = PNG[:-12] + b"\x00\x00\x00\x2ctEXtComment\x00" + HTML[:36] + b"\x00\x00\x00\x00" + PNG[-12:]
"""A picture that holds a page: true as a PNG, and harmless as long as nobody takes it for the page."""

GIF_SCRIPT = b"GIF89a/*" + b"\x00" * 8 + b"*/=1;alert(1)"
"""A file that is a picture by its first bytes and a script to whoever does not look at its type."""

BOMB = zlib.compress(b"\x00" * 10_000_000)
