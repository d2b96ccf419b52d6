"""Links to one file for a short time: what an `<img>` can use, which cannot send a bearer token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from chatrt.clock import Clock
from chatrt.errors import ForbiddenError, InvalidInputError, InvalidTokenError

AUDIENCE = "chatrt-attachment"
MAX_LINK_SECONDS = 60 * 60
_MAX_LENGTH = 2048
_CLAIMS = ["sub", "att", "aud", "exp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """What a link is good for: one file of one chat."""

    tenant: str
    chat_id: str
    attachment_id: str


class FileLinks:
    """Mints and reads the tokens of links.

    Args:
        key: Signs them; none are made or taken without one. Not that of session tokens: neither passes for the other.
        clock: Says when they end.
    """

    def __init__(self, key: bytes | None, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    @property
    def mints(self) -> bool:
        """Whether there is a key to sign with."""
        return self._key is not None

    def mint(self, link: FileLink, *, ttl: int) -> tuple[str, int]:
        """Return a token for a file, and when it ends, in seconds since 1970.

        Raises:
            ForbiddenError: If there is no key.
            InvalidInputError: If the time is not 1 to 3,600 seconds.
        """
        if self._key is None:
            raise ForbiddenError("there is no secret key to sign with")
        if not 1 <= ttl <= MAX_LINK_SECONDS:
            raise InvalidInputError(f"not 1 to {MAX_LINK_SECONDS} seconds", path="/ttl")
        expires_at = int(self._clock.now()) + ttl
        claims: dict[str, Any] = {
            "sub": link.chat_id,
            "att": link.attachment_id,
            "aud": AUDIENCE,
            "exp": expires_at,
        }
        if link.tenant:
            claims["tenant"] = link.tenant
        return jwt.encode(claims, self._key, algorithm="HS256"), expires_at  # pyright: ignore[reportUnknownMemberType]

    def read(self, token: str) -> FileLink:
        """Return what a token is good for.

        Raises:
            InvalidTokenError: If it is not one of ours that is valid now.
        """
        if self._key is None or len(token) > _MAX_LENGTH:
            raise InvalidTokenError
        options: Any = {"require": _CLAIMS, "strict_aud": True, "verify_exp": False}
        try:
            claims = jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                token, self._key, algorithms=["HS256"], audience=AUDIENCE, options=options
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise InvalidTokenError(type(error).__name__) from None
        match claims:
            case {"sub": str(chat_id), "att": str(attachment_id), "exp": int(expires)} if self._clock.now() < expires:
                return FileLink(tenant=str(claims.get("tenant", "")), chat_id=chat_id, attachment_id=attachment_id)
            case _:
                raise InvalidTokenError
