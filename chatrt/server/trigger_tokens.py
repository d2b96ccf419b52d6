"""Public tokens of the Trigger-compatible wire: made by whoever holds the secret key, or by this server for him.

The published SDK signs them itself, with the secret key, or has them signed (for keys it takes for one of several).
They say what they allow in scopes, `read:sessions:<chat id>`, and hold on this wire only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import jwt

from chatrt.clock import Clock
from chatrt.errors import ForbiddenError, InvalidInputError, InvalidTokenError
from chatrt.ids import Ids
from chatrt.server.auth import ALGORITHM, LEEWAY_SECONDS, MAX_TOKEN_LENGTH, Authority, Principal, Scope
from chatrt.server.limits import MAX_SECONDS_PER_TOKEN
from chatrt.server.trigger_ids import chat_id_of

ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
DEFAULT_SECONDS = 15 * 60
MAX_SCOPES = 100

CLAIMS: dict[str, Any] = {"sub": "chatrt", "pub": True}
"""What the SDK puts into a token that it signs itself."""

CLOCK_SECONDS = 60
"""How far ahead the clock of whoever signed may be."""

_BLOCK = 64
_COMPACT_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_DURATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(?:(seconds?|secs?|s)|(minutes?|mins?|m)|(hours?|hrs?|h)|(days?|d)|(weeks?|w)|(years?|yrs?|y))",
    re.IGNORECASE,
)
_UNITS = (1, 60, 3600, 86_400, 604_800, 31_557_600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopedPrincipal(Principal):
    """Whoever holds a public token.

    Attributes:
        grants: What it allows: `read` or `write`, and the chat; None for all chats.
    """

    grants: frozenset[tuple[str, str | None]] = frozenset()

    def require(self, chat_id: str, *scopes: Scope, agent: str | None = None) -> None:
        """Let those pass who may use this chat in this way; see `Principal.require`."""
        del agent
        if not all((scope, chat_id) in self.grants or (scope, None) in self.grants for scope in scopes):
            raise ForbiddenError

    def may_create(self, agent: str) -> bool:  # noqa: ARG002
        """Whether it may create a session: never."""
        return False


class TriggerTokens:
    """Makes and reads public tokens; session tokens of the other wires are read as well."""

    def __init__(self, authority: Authority, *, clock: Clock, ids: Ids) -> None:
        self._authority = authority
        self._clock = clock
        self._ids = ids
        # HMAC fills a short key up with zeros: this is the same key, and PyJWT does not complain about its length.
        self._secret = authority.secret.ljust(_BLOCK, b"\0")
        self._own_key = authority.derive_key("chatrt public token v1") or b""

    def verify(self, token: str) -> Principal:
        """Return whom a token stands for.

        Raises:
            InvalidTokenError: If it is none that is valid now; why is not told.
        """
        if not self._authority.mints:
            raise InvalidTokenError
        if len(token) > MAX_TOKEN_LENGTH or _COMPACT_JWT.fullmatch(token) is None:
            raise InvalidTokenError
        try:
            return self._authority.verify(token)
        except InvalidTokenError:
            pass
        for key in (self._own_key, self._secret):
            claims = _decode(token, key)
            if claims is not None:
                return self._read(claims)
        raise InvalidTokenError

    def mint(self, body: dict[str, Any]) -> str:
        """Make a token from what a server asked for: `{scopes, expirationTime?}`.

        Without a secret key everybody on this machine is let in, whatever he says, and the token is a word.

        Raises:
            InvalidInputError: If the scopes or the time are not possible, or it is to hold for one use only.
        """
        scopes = body.get("scopes")
        if not isinstance(scopes, list) or not 1 <= len(cast("list[Any]", scopes)) <= MAX_SCOPES:
            raise InvalidInputError(f"a list of 1 to {MAX_SCOPES} scopes", path="/scopes")
        if not all(isinstance(scope, str) for scope in cast("list[Any]", scopes)):
            raise InvalidInputError("a scope is a string", path="/scopes")
        if body.get("oneTimeUse"):
            raise InvalidInputError("a token holds until it expires, not for one use", path="/oneTimeUse")
        now = int(self._clock.now())
        expires = _expiry(body.get("expirationTime"), now)
        if not self._authority.mints:
            return OPEN_TOKEN
        claims: dict[str, Any] = {
            **CLAIMS,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": expires,
            "jti": self._ids.new("token"),
            "scopes": scopes,
        }
        token = jwt.encode(claims, self._own_key, algorithm=ALGORITHM)  # pyright: ignore[reportUnknownMemberType]
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidInputError("too many scopes for one token", path="/scopes")
        return token

    def _read(self, claims: dict[str, Any]) -> Principal:
        now = self._clock.now()
        issued = claims.get("iat", now)
        match claims:
            case {"exp": int(expires)} if (
                not isinstance(expires, bool)
                and isinstance(issued, int | float)
                and not isinstance(issued, bool)
                and issued - CLOCK_SECONDS <= now < expires + LEEWAY_SECONDS
                and expires - issued <= MAX_SECONDS_PER_TOKEN
                and "nbf" not in claims
            ):
                return ScopedPrincipal(
                    grants=frozenset(_grants(claims.get("scopes"))), expires_at=expires + LEEWAY_SECONDS
                )
            case _:
                raise InvalidTokenError


OPEN_TOKEN = "open-on-loopback"  # noqa: S105 - it opens nothing
"""Stands for a token where no key is set."""


def _decode(token: str, key: bytes) -> dict[str, Any] | None:
    try:
        return jwt.decode(  # pyright: ignore[reportUnknownMemberType]
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            # Times are checked by `TriggerTokens._read`, on our clock.
            options={
                "require": ["iss", "aud", "exp"],
                "strict_aud": True,
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None


def _grants(scopes: Any) -> list[tuple[str, str | None]]:
    """Read `action:sessions` and `action:sessions:<id>`; an id holds colons as they are. Others allow nothing here."""
    found: list[tuple[str, str | None]] = []
    for scope in cast("list[Any]", scopes) if isinstance(scopes, list) else []:
        action, _, rest = scope.partition(":") if isinstance(scope, str) else ("", "", "")
        resource, colon, name = rest.partition(":")
        if resource != "sessions" or action not in ("read", "write"):
            continue
        if not colon:
            found.append((action, None))
        elif (chat_id := chat_id_of(name)) is not None:
            found.append((action, chat_id))
    return found


def _expiry(value: Any, now: int) -> int:
    """Read when a token ends: seconds since 1970, or a duration such as `10m`; bounded.

    Raises:
        InvalidInputError: If it is neither, is over already, or lies too far ahead.
    """
    match value:
        case None:
            expires = now + DEFAULT_SECONDS
        case bool():
            expires = 0
        case int() | float():
            expires = int(value)
        case str() if (match := _DURATION.fullmatch(value.strip())) is not None:
            unit = next(unit for unit, name in zip(_UNITS, match.groups()[1:], strict=True) if name)
            expires = now + round(float(match[1]) * unit)
        case _:
            expires = 0
    if not now < expires <= now + MAX_SECONDS_PER_TOKEN:
        raise InvalidInputError(
            f"a duration such as 10m, or seconds since 1970, at most {MAX_SECONDS_PER_TOKEN} s ahead",
            path="/expirationTime",
        )
    return expires
