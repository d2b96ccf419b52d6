"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.runtime.driver import Gate, House


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    if house.sessions is not None:
        await house.sessions.aclose(grace=0.0)


@pytest.fixture
def gate() -> Gate:
    return Gate()
