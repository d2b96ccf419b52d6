"""Who asks, and what they may do: the secret key for servers, session tokens for browsers, loopback without a key.

Rights are read from the token alone, before anything is looked up, so an answer never tells whether a chat exists.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import jwt
from starlette.requests import HTTPConnection

from chatrt.clock import Clock
from chatrt.errors import ForbiddenError, InvalidInputError, InvalidTokenError, UnauthorizedError
from chatrt.ids import Ids
from chatrt.server.limits import MAX_SECONDS_PER_TOKEN

logger = logging.getLogger("chatrt.server")

Scope = Literal["read", "write"]
SCOPES: tuple[Scope, ...] = ("read", "write")

AUDIENCE = "chatrt"
ALGORITHM = "HS256"
LEEWAY_SECONDS = 5
MAX_TOKEN_LENGTH = 4096
DEFAULT_TTL_SECONDS = 60 * 60
_CLAIMS = ("sub", "aud", "scope", "exp", "iat", "jti")
_COMPACT_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a request comes from.

    Attributes:
        full: Whether it may do everything: the secret key, or anybody on loopback when no key is set.
        tenant: The tenant it belongs to.
        chat_id: The one chat of a session token.
        agent: The one agent a session token may create its session for.
        scopes: What a session token allows.
        expires_at: When the rights end, in seconds since 1970; None for never.
    """

    full: bool = False
    tenant: str = ""
    chat_id: str | None = None
    agent: str | None = None
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None

    def require_full(self) -> None:
        """Let only the secret key pass.

        Raises:
            ForbiddenError: If this is a session token.
        """
        if not self.full:
            raise ForbiddenError

    def require(self, chat_id: str, *scopes: Scope, agent: str | None = None) -> None:
        """Let those pass who may use this chat in this way.

        Raises:
            ForbiddenError: If this is a token of another chat, another agent, or without a scope; the answer is the
                same whether or not the chat exists.
        """
        if self.full:
            return
        if self.chat_id != chat_id or not self.scopes.issuperset(scopes):
            raise ForbiddenError
        if agent is not None and self.agent not in (None, agent):
            raise ForbiddenError

    def may_create(self, agent: str) -> bool:
        """Whether the session of its own chat may be created by it."""
        return self.full or ("write" in self.scopes and self.agent == agent)


OPEN = Principal(full=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionToken:
    """A minted token and when it ends, in seconds since 1970."""

    token: str
    expires_at: int


class Authority:
    """Mints and checks credentials for one secret key; without a key, loopback is all there is."""

    def __init__(
        self, secret_key: str | None, *, clock: Clock, ids: Ids, allowed_origins: Collection[str] = ()
    ) -> None:
        self._secret = secret_key.encode() if secret_key else None
        # Tokens are signed with a key of their own: a leaked signing key is not the secret key.
        self._signing_key = self.derive_key("chatrt session token v1") or b""
        self._clock = clock
        self._ids = ids
        self._allowed_origins = frozenset(allowed_origins)
        if self._secret is None:
            logger.warning("no secret key is set: everybody on this machine is let in, everybody else is refused")

    def derive_key(self, purpose: str) -> bytes | None:
        """Return a key for signing things of one purpose; None if no secret key is set."""
        return hmac.digest(self._secret, purpose.encode(), "sha256") if self._secret else None

    @property
    def mints(self) -> bool:
        """Whether there is a key to sign tokens with."""
        return self._secret is not None

    @property
    def secret(self) -> bytes:
        """The secret key, for what its holder signs himself; empty if there is none."""
        return self._secret or b""

    def mint(
        self,
        chat_id: str,
        *,
        tenant: str = "",
        agent: str | None = None,
        scopes: Collection[Scope] = SCOPES,
        ttl: int = DEFAULT_TTL_SECONDS,
    ) -> SessionToken:
        """Make a token for one chat.

        Args:
            chat_id: The chat.
            tenant: Its tenant.
            agent: Lets the token create the session, for this agent.
            scopes: `read`, `write` or both.
            ttl: Seconds until it ends; 1 to 86,400.

        Raises:
            ForbiddenError: If no secret key is set.
            InvalidInputError: If the time or a scope is not possible.
        """
        if self._secret is None:
            raise ForbiddenError("there is no secret key to sign with")
        if not 1 <= ttl <= MAX_SECONDS_PER_TOKEN:
            raise InvalidInputError(f"not 1 to {MAX_SECONDS_PER_TOKEN} seconds", path="/ttl")
        if not scopes or not set(scopes) <= set(SCOPES):
            raise InvalidInputError("a list of read and write", path="/scopes")
        now = int(self._clock.now())
        claims: dict[str, Any] = {
            "sub": chat_id,
            "aud": AUDIENCE,
            "scope": sorted(set(scopes)),
            "iat": now,
            "exp": now + ttl,
            "jti": self._ids.new("token"),
        }
        if tenant:
            claims["tenant"] = tenant
        if agent is not None:
            claims["agent"] = agent
        # PyJWT's signatures name types of a library that need not be installed.
        token = jwt.encode(claims, self._signing_key, algorithm=ALGORITHM)  # pyright: ignore[reportUnknownMemberType]
        return SessionToken(token=token, expires_at=now + ttl)

    def identify(self, connection: HTTPConnection, *, verify: Callable[[str], Principal] | None = None) -> Principal:
        """Return who asks.

        Args:
            connection: The request.
            verify: Reads what is not the secret key, in place of `verify`.

        Raises:
            UnauthorizedError: If there are no credentials and they are needed.
            InvalidTokenError: If they are wrong; why is not told.
            ForbiddenError: If no key is set and the request does not come from this machine.
        """
        if self._secret is None:
            self._require_loopback(connection)
            return OPEN
        scheme, _, credentials = connection.headers.get("authorization", "").partition(" ")
        if not credentials:
            raise UnauthorizedError
        if scheme.lower() != "bearer":
            raise InvalidTokenError
        credentials = credentials.strip()
        if hmac.compare_digest(hashlib.sha256(credentials.encode()).digest(), hashlib.sha256(self._secret).digest()):
            return OPEN
        return (verify or self.verify)(credentials)

    def verify(self, token: str) -> Principal:
        """Return whom a session token stands for.

        Raises:
            InvalidTokenError: If it is not a token of ours that is valid now.
        """
        if len(token) > MAX_TOKEN_LENGTH or _COMPACT_JWT.fullmatch(token) is None:
            raise InvalidTokenError
        try:
            claims = jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                token,
                self._signing_key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                # Times are checked below, on our clock and without the library's leniency about types.
                options={
                    "require": list(_CLAIMS),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise InvalidTokenError(type(error).__name__) from None
        return self._read_claims(claims)

    def _read_claims(self, claims: dict[str, Any]) -> Principal:
        now = self._clock.now()
        match claims:
            case {"sub": str(chat_id), "scope": [*scopes], "exp": int(expires), "iat": int(issued)} if (
                not isinstance(expires, bool)
                and not isinstance(issued, bool)
                and issued - LEEWAY_SECONDS <= now < expires + LEEWAY_SECONDS
                and expires - issued <= MAX_SECONDS_PER_TOKEN
                and "nbf" not in claims
                and set(scopes) <= set(SCOPES)
                and all(isinstance(claims.get(name, ""), str) for name in ("tenant", "agent"))
            ):
                return Principal(
                    tenant=claims.get("tenant", ""),
                    chat_id=chat_id,
                    agent=claims.get("agent"),
                    scopes=frozenset(cast("list[str]", scopes)),
                    expires_at=expires + LEEWAY_SECONDS,
                )
            case _:
                raise InvalidTokenError

    def _require_loopback(self, connection: HTTPConnection) -> None:
        """Refuse what a page on another site, or another machine, could send to a server that asks for no key."""
        client = connection.client
        if client is None or not _is_loopback(client.host):
            raise ForbiddenError("without a secret key only this machine is served")
        if not _is_loopback(_host_name(connection.headers.get("host", ""))):
            raise ForbiddenError("without a secret key only loopback names are served")
        origin = connection.headers.get("origin")
        if (
            origin is not None
            and origin not in self._allowed_origins
            and not _is_loopback(urlsplit(origin).hostname or "")
        ):
            raise ForbiddenError("the origin is not allowed")


def _host_name(header: str) -> str:
    return header[1:].partition("]")[0] if header.startswith("[") else header.rpartition(":")[0] or header


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback  # how a socket for both families names an IPv4 client
    return address.is_loopback
