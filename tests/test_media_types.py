"""What a file is said to be is held against what it is, and its name is made harmless."""

from __future__ import annotations

import time

import pytest

from chatrt.errors import UnsupportedTypeError
from chatrt.media_types import (
    DEFAULT_TYPES,
    HEAD,
    TypeCheck,
    clean_filename,
    content_disposition,
    filename_of_headers,
    parse_media_type,
)
from tests import files

TRUE = [
    ("image/png", files.PNG),
    ("image/jpeg", files.JPEG),
    ("image/gif", files.GIF),
    ("image/webp", files.WEBP),
    ("application/pdf", files.PDF),
    ("audio/wav", files.WAV),
    ("audio/mpeg", files.MP3),
    ("audio/mpeg", b"\xff\xfb\x90\x00" + bytes(16)),
    ("video/mp4", files.MP4),
    ("text/plain", b"Bread, milk.\n"),
    ("text/plain", "\ufeffžluťoučký".encode()),
    ("text/markdown", b'<p align="center">A title</p>\n\n# More'),
    ("text/csv", b"a,b\r\n1,2\r\n"),
    ("application/json", b'{"a": 1}'),
]

LIES = [
    ("image/png", files.HTML),
    ("image/png", files.SVG),
    ("image/png", files.JPEG),
    ("image/png", b"\x89PNG\r\n\x1a\n" + files.HTML),
    ("image/png", b"\x89PN"),
    ("image/jpeg", files.PNG),
    ("image/gif", b"GIF8"),
    ("image/webp", files.WAV),
    ("application/pdf", b" %PDF-1.7"),
    ("application/pdf", files.HTML + files.PDF),
    ("text/plain", files.HTML),
    ("text/plain", b"\xef\xbb\xbf \n" + files.HTML),
    ("text/plain", files.SVG),
    ("text/markdown", files.XML_SVG),
    ("text/csv", b"<SCRIPT>alert(1)</SCRIPT>"),
    ("text/plain", files.PNG),
    ("text/plain", files.EXE),
    ("text/plain", files.ZIP),
    ("text/plain", b"caf\xe9"),
    ("text/plain", b"a\x00b"),
    ("application/json", files.GZIP),
    ("audio/mpeg", files.EXE),
    ("video/mp4", files.PDF),
    ("video/mp4", b"\x00\x00\x00\x18ftypheic" + bytes(16)),
]


def check(declared: str, data: bytes, allowed=DEFAULT_TYPES, size: int = 100) -> str:
    """Hold a file against its type as an upload does, and return its type."""
    checking = TypeCheck(parse_media_type(declared), allowed)
    checking.begin(data[:HEAD])
    for start in range(0, len(data), size):
        checking.feed(data[start : start + size])
    checking.finish()
    return checking.media_type


@pytest.mark.parametrize(("declared", "data"), TRUE)
def test_files_that_are_what_they_say(declared, data):
    """A file of a listed type that begins as its kind does is taken."""
    assert check(declared, data) == declared


@pytest.mark.parametrize(("declared", "data"), LIES)
def test_files_that_lie(declared, data):
    """A file that is not what it is said to be is refused, whatever it is."""
    with pytest.raises(UnsupportedTypeError, match=declared.replace("/", ".") + "|text"):
        check(declared, data)


@pytest.mark.parametrize(
    ("declared", "data"), [case for case in TRUE if case[0].partition("/")[0] in ("image", "video")]
)
def test_the_first_bytes_decide_where_nothing_is_said(declared, data):
    """A file without a declared type gets the one that its first bytes show."""
    assert check("", data) == declared
    assert check("application/octet-stream", data) == declared


@pytest.mark.parametrize("data", [files.HTML, files.XML_SVG, files.ZIP, files.EXE, files.GZIP, files.BOMB])
def test_what_is_not_listed_is_not_found_either(data):
    """A file without a declared type is refused if what it shows is not listed, or unknown."""
    with pytest.raises(UnsupportedTypeError):
        check("", data)


@pytest.mark.parametrize(
    "declared", ["text/html", "image/svg+xml", "application/zip", "multipart/form-data", "image/x"]
)
def test_types_that_are_not_listed(declared):
    """A type that is not listed is refused before anything is looked at."""
    with pytest.raises(UnsupportedTypeError, match="not taken"):
        TypeCheck(parse_media_type(declared), DEFAULT_TYPES)


@pytest.mark.parametrize("header", ["png", "image/", "/png", "image/png png", "image/\x00", "i" * 99 + "/png", "*/*"])
def test_what_is_no_media_type(header):
    """Something else than a media type is refused."""
    with pytest.raises(UnsupportedTypeError, match="not a media type"):
        parse_media_type(header)


def test_parameters_and_other_names():
    """Parameters are dropped, case does not count, and a type has one name."""
    assert parse_media_type("Text/Plain; charset=utf-8") == "text/plain"
    assert parse_media_type("image/jpg") == "image/jpeg"
    assert parse_media_type(None) == ""


@pytest.mark.parametrize("piece", [b"<!---->", b"<!--", b"-->", b"<?xml>", b"<?xml", b" ", b"<", b"<!doctype "])
def test_looking_takes_no_time(piece):
    """Nothing that a file begins with makes the look at it slow."""
    head = (piece * HEAD)[:HEAD]
    started = time.process_time()
    for _ in range(10):
        TypeCheck("text/plain", DEFAULT_TYPES).begin(head)
    assert time.process_time() - started < 0.5


def test_texts_are_texts_to_their_ends():
    """Bytes that are no text are found wherever they are, and a character may lie across a border."""
    text = "ž".encode() * 3000
    assert check("text/plain", text, size=7) == "text/plain"
    with pytest.raises(UnsupportedTypeError):
        check("text/plain", text + b"\xff", size=7)
    with pytest.raises(UnsupportedTypeError):
        check("text/plain", text + b"\x00", size=7)
    with pytest.raises(UnsupportedTypeError):
        check("text/plain", text[:-1], size=7)


def test_types_of_an_application():
    """An application may list more types: known ones are looked at, documents are zip archives, others are unknown bytes."""
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert check(word, files.ZIP, (word,)) == word
    assert check("application/x-own", b"\x01\x02\x03\x04", ("application/x-own",)) == "application/x-own"
    assert check("image/svg+xml", files.SVG, ("image/svg+xml",)) == "image/svg+xml"
    assert check("text/html", files.HTML, ("text/html",)) == "text/html"
    for declared, data in ((word, files.PDF), ("application/x-own", files.HTML), ("application/x-own", files.ZIP)):
        with pytest.raises(UnsupportedTypeError):
            check(declared, data, (declared,))


# --- names


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\system32\\cmd.exe", "cmd.exe"),
        ("a\r\nSet-Cookie: x=1", "a Set-Cookie: x=1"),
        ("a\x00b.txt", "ab.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u2066b\u2069\u200f.txt", "ab.txt"),
        ("line\u2028end.txt", "lineend.txt"),
        ("\ud800half.txt", "half.txt"),
        ("e\u0301.txt", "é.txt"),
        ("  .hidden. ", "hidden"),
        ("..", None),
        ("/", None),
        ("\u202e", None),
        ("", None),
        (None, None),
        ("🧭 žluť.png", "🧭 žluť.png"),
    ],
)
def test_names_are_cleaned(name, cleaned):
    """Of a name its last part stays, without what misleads people, paths or headers."""
    assert clean_filename(name) == cleaned


@pytest.mark.parametrize("name", ["a" * 999 + ".pdf", "ž" * 999 + ".pdf", "." * 99 + "x" * 999, "x." + "y" * 999])
def test_long_names_are_shortened(name):
    """A long name is cut and keeps its ending."""
    cleaned = clean_filename(name)
    assert 100 < len(cleaned.encode()) <= 200
    assert cleaned.endswith(".pdf") == name.endswith(".pdf")


@pytest.mark.parametrize(
    ("x_filename", "disposition", "name"),
    [
        ("gr%C3%BC%C3%9Fe.png", None, "grüße.png"),
        ("50% off.txt", None, "50% off.txt"),
        ("a%0D%0Ab.txt", None, "a b.txt"),
        ("%E2%80%AEgpj.exe", None, "gpj.exe"),
        ("%FF.txt", None, "\ufffd.txt"),
        (None, 'attachment; filename="plain.txt"', "plain.txt"),
        (None, "attachment; filename=plain.txt", "plain.txt"),
        (None, "attachment; filename=\"x.txt\"; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        (None, "attachment; filename*=iso-8859-1'en'caf%E9.txt", "café.txt"),
        (None, 'attachment; filename="a\\"b;c.txt"', 'a"b;c.txt'),
        (None, 'form-data; filename="na\u00c3\u00afve.txt"', "naïve.txt"),
        (None, "attachment", None),
        (None, None, None),
        ("first.txt", 'attachment; filename="second.txt"', "first.txt"),
    ],
)
def test_names_in_headers(x_filename, disposition, name):
    """A name comes percent-encoded, or in a content disposition in any of its forms."""
    assert filename_of_headers(x_filename, disposition) == name


@pytest.mark.parametrize("name", ['a"b', "a\\b", "ž", "a%0d%0ab", "a;b", "a' b", "\U0001f9ed"])
def test_dispositions_hold_any_name(name):
    """What is said of a name is ASCII, one line, and says the name."""
    header = content_disposition("application/pdf", name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('attachment; filename="')
    assert filename_of_headers(None, header) == clean_filename(name)


def test_only_pictures_are_shown_inline():
    """Pictures of pixels may be shown where they are; pages, drawings, documents are saved."""
    assert content_disposition("image/png", None) == "inline"
    for media_type in ("image/svg+xml", "text/html", "application/pdf", "text/plain"):
        assert content_disposition(media_type, None) == "attachment"
