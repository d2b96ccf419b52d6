"""Buckets: objects in a real S3-compatible server, and requests that are signed for one thing only."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import subprocess
import sys
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest

from chatrt.errors import NotFoundError, StoreUnavailableError, UsageError
from chatrt.stores.s3 import S3Bucket
from tests.s3_server import KEYS, S3Server, s3_server


@pytest.fixture(scope="module")
def server():
    """One server for all tests of this file; it runs in a process of its own."""
    with s3_server() as server:
        yield server


@pytest.fixture
async def bucket(server: S3Server):
    bucket = server.bucket()
    yield bucket
    await bucket.aclose()


async def pieces(*data: bytes):
    for piece in data:
        yield piece


async def put(bucket: S3Bucket, name: str, data: bytes) -> None:
    await bucket.put(name, pieces(data), media_type="text/plain", size=len(data))


async def read(bucket: S3Bucket, name: str, **options) -> bytes:
    return b"".join([piece async for piece in bucket.read(name, **options)])


async def test_an_object_comes_back(bucket, server):
    """What was put in pieces is found, read whole and in part, and deleted; its name begins as was wanted."""
    await bucket.put("a/1", pieces(b"01234", b"56789"), media_type="text/plain", size=10)
    assert (await bucket.find("a/1")).size == 10
    assert await read(bucket, "a/1") == b"0123456789"
    assert await read(bucket, "a/1", start=3, stop=6) == b"345"
    assert await read(bucket, "a/1", start=8) == b"89"
    assert await read(bucket, "a/1", start=3, stop=3) == b""
    assert "chats/a/1" in await asyncio.to_thread(server.names)
    await bucket.delete("a/1")
    assert await bucket.find("a/1") is None
    await bucket.delete("a/1")
    with pytest.raises(NotFoundError):
        await read(bucket, "a/1")


async def test_a_source_that_fails_leaves_nothing(bucket):
    """When the bytes break off there is no object, not half of one."""

    async def broken():
        yield b"01234"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await bucket.put("broken", broken(), media_type="text/plain", size=10)
    assert await bucket.find("broken") is None


async def test_objects_are_written_once(bucket):
    """What is there is not written over."""
    await put(bucket, "once", b"first")
    with pytest.raises(StoreUnavailableError, match="412"):
        await put(bucket, "once", b"other")
    assert await read(bucket, "once") == b"first"


async def test_a_download_says_what_it_is(bucket):
    """A signed link answers with the type and disposition that were looked at, whatever the object was put as."""
    await put(bucket, "page", b"hello")
    signed = bucket.sign_download(
        "page", media_type="image/png", disposition="attachment; filename*=UTF-8''%C5%BE.png", seconds=60, now=5.0
    )
    async with httpx.AsyncClient() as http:
        response = await http.get(signed.url)
    assert (response.content, response.headers["content-type"]) == (b"hello", "image/png")
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''%C5%BE.png"
    assert (signed.method, signed.headers, signed.expires_at) == ("GET", {}, 65.0)


async def test_an_unreachable_bucket(server):
    """A service that is not there, or has no such bucket, is unavailable; its URL, with the signature, is not told."""
    gone = server.bucket(endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError) as caught:
        await gone.find("x")
    assert "Signature" not in str(caught.value)
    await gone.aclose()
    other = server.bucket("nothere")
    with pytest.raises((StoreUnavailableError, NotFoundError)):
        await put(other, "x", b"hello")
    await other.aclose()


# --- signatures, computed once more by the public description of AWS's Signature Version 4


def signature(url: str, method: str, headers: dict[str, str], secret: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = {**{name.lower(): value for name, value in headers.items()}, "host": parts.netloc}
    names = query["X-Amz-SignedHeaders"].split(";")
    canonical_query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(query.items())
        if name != "X-Amz-Signature"
    )
    lines = [method, parts.path, canonical_query, *(f"{name}:{given[name]}" for name in names), "", ";".join(names)]
    request = "\n".join([*lines, "UNSIGNED-PAYLOAD"])
    _, date, region, service, end = query["X-Amz-Credential"].split("/")
    key = b"AWS4" + secret.encode()
    for piece in (date, region, service, end):
        key = hmac.digest(key, piece.encode(), "sha256")
    scope = f"{date}/{region}/{service}/{end}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, digest])
    return hmac.digest(key, text.encode(), "sha256").hex()


def sign(bucket: S3Bucket, **changed):
    what = {"media_type": "image/png", "size": 70, "sha256": "ab" * 32, "seconds": 60, "now": 0.0, **changed}
    return bucket.sign_upload("a/1", **what)


async def test_an_upload_is_signed_for_one_file(bucket):
    """The signature of an upload covers its type, its size, its digest and that nothing is there: others do not fit."""
    signed = sign(bucket)
    query = dict(parse_qsl(urlsplit(signed.url).query))
    assert query["X-Amz-SignedHeaders"] == "content-length;content-type;host;if-none-match;x-amz-checksum-sha256"
    sent = {**signed.headers, "content-length": "70"}
    assert signature(signed.url, "PUT", sent, KEYS["secret_access_key"]) == query["X-Amz-Signature"]
    for name, value in (
        ("content-type", "text/html"),
        ("content-length", "71"),
        ("if-none-match", '"x"'),
        ("x-amz-checksum-sha256", "AAAA"),
    ):
        other = signature(signed.url, "PUT", {**sent, name: value}, KEYS["secret_access_key"])
        assert other != query["X-Amz-Signature"], name
    assert query["X-Amz-Expires"] == "60"
    made = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert abs((dt.datetime.now(dt.UTC) - made).total_seconds()) < 60


async def test_a_digest_and_a_guard_may_be_missing(server):
    """Without a digest none is asked for; a service that does not know the guard may do without."""
    bucket = server.bucket(write_once=False)
    assert sign(bucket, sha256=None).headers == {"content-type": "image/png"}


def test_addresses():
    """Amazon's buckets are hosts, those of others paths."""
    amazon = S3Bucket("files", region="eu-central-1", **KEYS)
    assert sign(amazon).url.startswith("https://files.s3.eu-central-1.amazonaws.com/a/1?")
    other = S3Bucket("files/deep/down/", endpoint="https://minio.test:9000", **KEYS)
    assert sign(other).url.startswith("https://minio.test:9000/files/deep/down/a/1?")


@pytest.mark.parametrize("options", [{"access_key_id": "a"}, {"endpoint": "minio.test"}])
def test_buckets_that_cannot_be(options):
    """Half of the credentials, or an endpoint that is no URL, is refused when the bucket is made."""
    with pytest.raises(UsageError):
        S3Bucket("files", **options)


def test_no_credentials(monkeypatch, tmp_path):
    """Where there are no credentials, a bucket says so at once."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="credentials"):
        S3Bucket("files")


def test_botocore_is_loaded_by_who_has_a_bucket():
    """The module costs nothing; without botocore a bucket says what to install."""
    code = (
        "import sys; from chatrt.stores.s3 import S3Bucket; print('botocore' in sys.modules)\n"
        "sys.modules['botocore.session'] = None\n"
        "try: S3Bucket('files', access_key_id='a', secret_access_key='b')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", 'UsageError a bucket needs botocore: pip install "chatrt[s3]"']


def test_secrets_stay_out_of_the_repr():
    """What is shown of a bucket is its name."""
    assert repr(S3Bucket("files", **KEYS)) == "S3Bucket('files/')"
