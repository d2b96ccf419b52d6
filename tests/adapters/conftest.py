"""Fixtures of the adapters' tests: those of the runtime, as the adapters are tried inside real sessions."""

from __future__ import annotations

from tests.runtime.conftest import gate, house

__all__ = ["gate", "house"]
