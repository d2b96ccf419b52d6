"""The conformance suite for stores: the store contract as pytest cases, whose docstrings are the specification.

A store passes when a class like this one does:

    pytest.register_assert_rewrite("chatrt.testing.store_suite")

    from chatrt.testing.store_suite import StoreSuite

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "chat.db")

`make_store` is called once for each case. It returns a store that is not open and, but for what the case itself
writes, empty. The cases open it, may close and open the same object again, and close it.
"""

from __future__ import annotations

from chatrt.testing.store_suite.attachments import AttachmentCases
from chatrt.testing.store_suite.claims import ClaimCases, DeathCases
from chatrt.testing.store_suite.commits import CommitCases
from chatrt.testing.store_suite.expiry import ExpiryCases
from chatrt.testing.store_suite.families import FamilyCases
from chatrt.testing.store_suite.history import HistoryCases
from chatrt.testing.store_suite.inbox import InboxCases
from chatrt.testing.store_suite.leases import LeaseCases
from chatrt.testing.store_suite.lifecycle import LifecycleCases
from chatrt.testing.store_suite.outbox import OutboxCases
from chatrt.testing.store_suite.portable import PortableCases
from chatrt.testing.store_suite.recent import MetadataCases, RecentCases
from chatrt.testing.store_suite.sessions import SessionCases
from chatrt.testing.store_suite.unserved import UnservedCases

__all__ = ["StoreSuite"]


class StoreSuite(
    SessionCases,
    FamilyCases,
    RecentCases,
    MetadataCases,
    InboxCases,
    LeaseCases,
    UnservedCases,
    ClaimCases,
    DeathCases,
    OutboxCases,
    CommitCases,
    HistoryCases,
    LifecycleCases,
    ExpiryCases,
    AttachmentCases,
    PortableCases,
):
    """Every case of the store contract; override the fixture `make_store`."""
