"""Checks of the configuration: the secret key, where the server listens, the model and its keys, the target."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any

from chatrt.cli.checkup.finding import Finding
from chatrt.cli.listen import check_port, is_loopback
from chatrt.cli.target import load
from chatrt.errors import UsageError

SHORT, WEAK = 16, 32
FEW_CHARACTERS = 10
MAKE_KEY = 'set CHATRT_SECRET_KEY to what `python -c "import secrets; print(secrets.token_urlsafe(32))"` prints'


def check_configuration(target: str | None, secret_key: str | None) -> Iterator[Finding]:
    """Look at the environment and, if one is given, at the target.

    Args:
        target: What would be served.
        secret_key: In place of `CHATRT_SECRET_KEY`.
    """
    key = secret_key or os.environ.get("CHATRT_SECRET_KEY") or ""
    yield _exposure(key)
    if key:
        yield _strength(key)
    try:
        check_port(os.environ.get("CHATRT_PORT") or "8000")
    except UsageError as error:
        yield Finding("port", "problem", str(error), "set CHATRT_PORT to a number from 1 to 65535")
    if target is not None:
        yield _target(target)
    model = os.environ.get("CHATRT_MODEL")
    if model:
        yield _model(model)


def _exposure(key: str) -> Finding:
    host = os.environ.get("CHATRT_HOST") or "127.0.0.1"
    if key:
        return Finding("exposure", "ok", f"a secret key protects what listens on {host}")
    if is_loopback(host):
        text = "there is no secret key: everybody on this machine is let in, nobody else"
        return Finding("exposure", "warning", text, f"behind a proxy everybody seems local; {MAKE_KEY}")
    return Finding("exposure", "problem", f"without a secret key nothing listens on {host}", MAKE_KEY)


def _strength(key: str) -> Finding:
    """Say how strong a key is, and nothing else of it."""
    if key != key.strip():
        return Finding("secret-key", "problem", "the secret key begins or ends with white space", MAKE_KEY)
    if len(key) < SHORT or len(set(key)) < FEW_CHARACTERS:
        text = f"the secret key can be guessed: {len(key)} characters, {len(set(key))} different ones"
        return Finding("secret-key", "problem", text, MAKE_KEY)
    if len(key) < WEAK:
        return Finding("secret-key", "warning", f"the secret key is short: {len(key)} characters", MAKE_KEY)
    return Finding("secret-key", "ok", f"the secret key has {len(key)} characters")


def _target(target: str) -> Finding:
    try:
        loaded = load(target)
    except UsageError as error:
        return Finding("target", "problem", str(error), "chatrt serve would end with the same words")
    served = ", ".join(agent.id for agent in loaded.agents) or "an application"
    return Finding("target", "ok", f"{target} serves {served}")


def _model(model: str) -> Finding:
    litellm: Any = importlib.import_module("litellm")  # here, because it is heavy
    answer = litellm.validate_environment(model)
    missing = ", ".join(answer["missing_keys"])
    if answer["keys_in_environment"]:
        return Finding("model", "ok", f"{model} has its key")
    if missing:
        return Finding("model", "problem", f"{model} lacks {missing}", f"set {missing} where the server runs")
    return Finding("model", "note", f"what {model} needs is not known here")
