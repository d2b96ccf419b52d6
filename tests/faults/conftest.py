"""What tests of the line to the database share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatrt.ids import RandomIds
from tests.faults.proxy import FaultProxy


@pytest.fixture
def direct(postgres) -> str:
    """The URL of a database of the test's own, without anything in between."""
    return postgres.create_database(RandomIds().new("direct"))


@pytest.fixture
def database_proxy(postgres) -> Iterator[FaultProxy]:
    """A proxy before the PostgreSQL server."""
    with FaultProxy(postgres.port) as proxy:
        yield proxy
