"""Fixtures of the adapters' tests: those of the runtime, as the adapters are tried inside real sessions."""

from __future__ import annotations

import agents
import pytest

from tests.runtime.conftest import gate, house

__all__ = ["gate", "house"]


@pytest.fixture(autouse=True)
def _no_tracing() -> None:
    """The OpenAI Agents SDK sends traces to OpenAI otherwise."""
    agents.set_tracing_disabled(True)
