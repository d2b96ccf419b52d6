"""Files in S3-compatible object storage: requests signed by botocore, sent by httpx.

Every request is a signed URL (SigV4 in the query), those that clients send and those of this process alike.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from importlib import import_module
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx

from chatrt.errors import NotFoundError, StoreUnavailableError, UsageError
from chatrt.stores.bucket import SignedRequest, StoredObject

OWN_SECONDS = 300
"""How long the requests of this process itself are good."""

_TIMEOUT = httpx.Timeout(connect=10.0, read=30.0, write=30.0, pool=None)


class S3Bucket:
    """Fills `Bucket` with a bucket of S3, or of a service that speaks like it: R2, MinIO, Ceph, Garage, ...

    Needs botocore (`pip install "chatrt[s3]"`). Credentials are those of botocore's chain (environment, files, roles)
    unless given. Pages of other origins can upload only when the bucket's own CORS rules let them `PUT` with the
    headers `content-type`, `if-none-match` and `x-amz-checksum-sha256`.

    Args:
        bucket: Its name, and after a slash what all names begin with: `my-bucket/chat-files`.
        region: Its region.
        endpoint: The service's address, if it is not Amazon's.
        access_key_id: Instead of the chain, together with `secret_access_key`.
        secret_access_key: The same.
        path_style: Whether the bucket's name stands in the path; by default where an endpoint is given.
        write_once: Whether uploads are signed with `If-None-Match: *`, so that nobody can change a file that was
            looked at. Only a service that does not know this header needs False.
        http: An own HTTP client; it is not closed here.

    Raises:
        UsageError: If botocore is missing, or there are no credentials.
    """

    def __init__(
        self,
        bucket: str,
        *,
        region: str = "us-east-1",
        endpoint: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        path_style: bool | None = None,
        write_once: bool = True,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._bucket, _, prefix = bucket.partition("/")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._write_once = write_once
        if endpoint is not None and urlsplit(endpoint).scheme not in ("https", "http"):
            raise UsageError(f"an endpoint is an http or https URL, not {endpoint!r}")
        style = "path" if (endpoint is not None if path_style is None else path_style) else "virtual"
        self._client = _make_client(region, endpoint, access_key_id, secret_access_key, style)
        self._own_http = http is None
        self._http = http

    def __repr__(self) -> str:
        return f"S3Bucket({self._bucket + '/' + self._prefix!r})"

    # --- signed for clients

    def sign_upload(
        self, name: str, *, media_type: str, size: int, sha256: str | None, seconds: int, now: float
    ) -> SignedRequest:
        parameters: dict[str, Any] = {"ContentType": media_type, "ContentLength": size}
        # The browser says the length by itself, and may not be told to.
        headers = {"content-type": media_type}
        if self._write_once:
            parameters["IfNoneMatch"] = headers["if-none-match"] = "*"
        if sha256 is not None:
            checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
            parameters["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = checksum
        return self._sign("PUT", "put_object", name, parameters, headers=headers, seconds=seconds, now=now)

    def sign_download(self, name: str, *, media_type: str, disposition: str, seconds: int, now: float) -> SignedRequest:
        parameters = {"ResponseContentType": media_type, "ResponseContentDisposition": disposition}
        return self._sign("GET", "get_object", name, parameters, seconds=seconds, now=now)

    def _sign(
        self,
        method: str,
        operation: str,
        name: str,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        seconds: int = OWN_SECONDS,
        now: float = 0.0,
    ) -> SignedRequest:
        url: str = self._client.generate_presigned_url(
            operation, Params={"Bucket": self._bucket, "Key": self._prefix + name, **parameters}, ExpiresIn=seconds
        )
        return SignedRequest(method=method, url=url, headers=headers, expires_at=now + seconds)

    # --- asked by this process

    async def put(
        self, name: str, data: AsyncIterator[bytes], *, media_type: str, size: int, sha256: str | None = None
    ) -> None:
        signed = self.sign_upload(name, media_type=media_type, size=size, sha256=sha256, seconds=OWN_SECONDS, now=0.0)
        headers = {**signed.headers, "content-length": str(size)}
        async with self._send(signed, headers=headers, content=data):
            pass

    async def find(self, name: str) -> StoredObject | None:
        signed = self._sign("HEAD", "head_object", name, {"ChecksumMode": "ENABLED"})
        try:
            async with self._send(signed, headers={"x-amz-checksum-mode": "ENABLED"}) as response:
                checksum = response.headers.get("x-amz-checksum-sha256", "")
                # That of an object that was put in parts is none of the whole, and says how many with a dash.
                sha256 = base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None
                return StoredObject(int(response.headers["content-length"]), sha256)
        except NotFoundError:
            return None

    async def read(self, name: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        if stop is not None and stop <= start:
            return
        headers = {"range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        async with self._send(self._sign("GET", "get_object", name), headers=headers) as response:
            if response.status_code != HTTPStatus.PARTIAL_CONTENT and start:
                raise StoreUnavailableError("the bucket does not give parts of objects")
            async for piece in response.aiter_bytes():
                yield piece

    async def delete(self, name: str) -> None:
        try:
            async with self._send(self._sign("DELETE", "delete_object", name)):
                pass
        except NotFoundError:
            pass

    async def aclose(self) -> None:
        if self._own_http and self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    @asynccontextmanager
    async def _send(
        self, signed: SignedRequest, *, headers: Mapping[str, str] | None = None, content: Any = None
    ) -> AsyncGenerator[httpx.Response]:
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)
        request = self._http.build_request(signed.method, signed.url, headers=headers, content=content)
        request.headers["accept-encoding"] = "identity"
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise StoreUnavailableError(
                f"the bucket {self._bucket} cannot be reached: {type(error).__name__}"
            ) from None
        try:
            if response.status_code == HTTPStatus.NOT_FOUND:
                raise NotFoundError("no such object")
            if not response.is_success:
                # Without the URL: it holds a signature.
                raise StoreUnavailableError(f"the bucket {self._bucket} answered {response.status_code}")
            yield response
        except httpx.TransportError as error:
            raise StoreUnavailableError(f"the bucket {self._bucket} broke off: {type(error).__name__}") from None
        finally:
            await response.aclose()


@cache
def _loader() -> Any:
    """What reads botocore's descriptions of services, and remembers them: they are megabytes of JSON."""
    return import_module("botocore.loaders").create_loader()


def _make_client(region: str, endpoint: str | None, key: str | None, secret: str | None, style: str) -> Any:
    # botocore reads files of some megabytes: only who has a bucket pays for that.
    try:
        session: Any = import_module("botocore.session")
        config: Any = import_module("botocore.config")
    except ImportError:
        raise UsageError('a bucket needs botocore: pip install "chatrt[s3]"') from None
    if (key is None) != (secret is None):
        raise UsageError("access_key_id and secret_access_key belong together")
    settings = config.Config(
        signature_version="s3v4",
        s3={"addressing_style": style},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = session.get_session()
    made.register_component("data_loader", _loader())
    if key is None and made.get_credentials() is None:
        raise UsageError("there are no credentials for the bucket")
    return made.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=settings,
    )
