"""Which URLs of files are let into a chat."""

from __future__ import annotations

import time

import pytest

from chatrt.errors import URLNotAllowedError
from chatrt.file_urls import FileURLs, find_own, own_url, symbol_id, to_symbol

DEFAULT = FileURLs()
CDN = FileURLs(hosts=["cdn.example.com", "*.images.example.com"])
ANY = FileURLs(hosts=["*"])

HOSTILE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://0/",
    "https://169.254.169.254/latest/meta-data",
    "https://169.254.170.2/",
    "https://168.63.129.16/",
    "https://10.0.0.1/",
    "https://localhost./",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://intranet/",
    "https://cdn.example.com./",
    "https://cdn.example.com@evil.test/",
    "https://user:secret@cdn.example.com/",
    "https://cdn.example.com:8443/",
    "https://cdn.example.com:22/",
    "https://１２７.0.0.1/",
    "https://ⓛocalhost/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "gs://bucket/x",
    "s3://bucket/x",
    "ftp://example.com/x",
    "javascript:alert(1)",
    "blob:https://cdn.example.com/1",
    "//cdn.example.com/x",
    "/etc/passwd",
    "chatrt-attachment:att_1",
    "https:cdn.example.com",
    "https://",
    "",
    " https://cdn.example.com/",
    "https://cdn.example.com\\@evil.test/",
]


@pytest.mark.parametrize("url", HOSTILE)
@pytest.mark.parametrize("policy", [DEFAULT, CDN, ANY], ids=["default", "hosts", "any"])
def test_hostile_urls(policy, url):
    """No policy lets in addresses, names inside, other schemes, ports or user names."""
    with pytest.raises(URLNotAllowedError):
        policy.check(url, chat_id="c")


@pytest.mark.parametrize("url", ["https://cdn.example.com/a.png", "https://example.org/", "http://example.org/"])
def test_foreign_urls_are_not_let_in(url):
    """Where an application names no hosts there are no foreign URLs."""
    with pytest.raises(URLNotAllowedError, match="host"):
        DEFAULT.check(url, chat_id="c")


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://cdn.example.com/a.png", "https://cdn.example.com/a.png"),
        ("HTTPS://CDN.example.COM:443/a b", "https://cdn.example.com/a%20b"),
        ("https://a.images.example.com/", "https://a.images.example.com/"),
        ("https://a.b.images.example.com/?q=1#f", "https://a.b.images.example.com/?q=1#f"),
    ],
)
def test_named_hosts(url, stored):
    """A URL on a host that is named is let in, and stored as it was understood."""
    assert CDN.check(url, chat_id="c") == stored


@pytest.mark.parametrize(
    "url", ["https://images.example.com/", "https://evilimages.example.com/", "https://cdn.example.com.evil.test/"]
)
def test_hosts_that_only_look_alike(url):
    """A name stands for itself and one with a star for those below it; neither for what ends or begins alike."""
    with pytest.raises(URLNotAllowedError):
        CDN.check(url, chat_id="c")


def test_any_host_is_any_public_name():
    """A star lets in every public name."""
    assert ANY.check("https://example.org/x", chat_id="c") == "https://example.org/x"


@pytest.mark.parametrize("url", ["data:image/png;base64,AAAA", "data:,hi", "DATA:text/plain;charset=utf-8,hi"])
def test_data_urls(url):
    """A data URL holds its file itself and is let in."""
    assert DEFAULT.check(url, chat_id="c") == url


@pytest.mark.parametrize("url", ["data:", "data:image/png", "data:;;;", "data:" + "a" * 2**20 + ",", "data:x y,z"])
def test_data_urls_that_are_none(url):
    """Neither what is no data URL nor one that is too long."""
    with pytest.raises(URLNotAllowedError):
        DEFAULT.check(url, chat_id="c")


def test_no_data_urls():
    """They can be refused altogether."""
    with pytest.raises(URLNotAllowedError):
        FileURLs(data_bytes=0).check("data:,", chat_id="c")


@pytest.mark.parametrize("chat_id", ["c1", "a/b", "Ž 100%", "..", ".", "a?b#c", "%2F"])
def test_own_urls(chat_id):
    """The URL of an own file is known again for any chat id, and is stored as its path whatever stands around it."""
    path = own_url(chat_id, "att_1")
    own = find_own(path)
    assert (own.chat_id, own.attachment_id, own.path) == (chat_id, "att_1", path)
    for url in (path, f"{path}?token=x", f"https://api.example.com{path}?token=x#y", f"http://127.0.0.1:8000{path}"):
        assert DEFAULT.check(url, chat_id=chat_id) == path
    assert DEFAULT.check(f"/chat{path}", chat_id=chat_id) == f"/chat{path}"


@pytest.mark.parametrize(
    "url",
    [
        "/v1/sessions/c/attachments/",
        "/v1/sessions/c/attachments/a/b",
        "/v1/sessions/c/attachments/a b",
        "/../v1/sessions/c/attachments/a",
        "//evil.test/v1/sessions/c/attachments/a",
        "/\\evil.test/v1/sessions/c/attachments/a",
        "/v1/sessions/c\\d/attachments/a",
        "file:///v1/sessions/c/attachments/a",
        "/v1/sessions/c/attachments/" + "a" * 65,
    ],
)
def test_what_only_looks_like_an_own_url(url):
    """Steps up, other hosts, other schemes and half paths name no own file."""
    assert find_own(url) is None


def test_files_of_other_chats():
    """A chat's messages name files of that chat."""
    with pytest.raises(URLNotAllowedError, match="another chat"):
        DEFAULT.check(own_url("c2", "att_1"), chat_id="c1")


@pytest.mark.parametrize("piece", ["/a", "/v1/sessions/a", "/%2e", "/-", "data:", "data:a/a;b=", "https://a", "/"])
def test_looking_takes_no_time(piece):
    """No URL makes the look at it slow."""
    url = piece * (2**20 // len(piece))
    started = time.process_time()
    with pytest.raises(URLNotAllowedError):
        CDN.check(url, chat_id="c")
    assert time.process_time() - started < 1


def test_names_in_prompts():
    """A prompt names an own file by its id, and nothing else."""
    assert symbol_id(to_symbol(own_url("c", "att_1"))) == "att_1"
    assert to_symbol("https://cdn.example.com" + own_url("c", "att_1")) is None
    assert symbol_id("data:,") is None
    assert symbol_id(None) is None
