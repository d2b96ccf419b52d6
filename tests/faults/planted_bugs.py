"""Bugs that break a promise, each as a change of the text of one file of `chatrt/`, and what has to find it."""

from __future__ import annotations

from dataclasses import dataclass

SLOW = "__import__('time').sleep(0.02)"
"""A disk that takes its time: what is told too early is told long before it is true."""


@dataclass(frozen=True)
class Bug:
    """`old`, which stands in the file once, becomes `new`.

    Attributes:
        inv: The invariants by one of which the chaos run finds it; none where a test finds it.
        store: Of the chaos run.
        kills: Of the chaos run; some bugs show without any.
        tests: What pytest is given instead of a chaos run.
    """

    name: str
    file: str
    old: str
    new: str
    inv: tuple[int, ...] = ()
    store: str = "sqlite"
    kills: int = 2
    tests: tuple[str, ...] = ()


BUGS = [
    Bug(
        "ack before commit",
        "stores/sqlite_writer.py",
        '            connection.execute("COMMIT")\n        except',
        "            self._loop.call_soon_threadsafe(_resolve, group)\n"
        f'            {SLOW}\n            connection.execute("COMMIT")\n        except',
        inv=(1, 4, 9, 10, 33),
        kills=12,
    ),
    Bug(
        "publish before commit",
        "runtime/flusher.py",
        "            first_seqs = await self.insist(write, look)\n",
        "            for one, records in taken:\n"
        "                one.landed(records, one.stored_seq + 1, at)\n"
        "            await self.clock.sleep(0.02)\n"
        "            await self.insist(write, look)\n"
        "            taken, first_seqs = [], []\n",
        inv=(8, 9, 10),
        kills=12,
    ),
    Bug(
        "no epoch check on the turn commit",
        "stores/postgres/sql/001_up.sql",
        "    WHERE s.tenant = p_tenant AND s.chat_id = p_chat AND h.epoch = p_epoch AND h.owner = p_owner\n"
        "    FOR NO KEY UPDATE OF h;\n    IF NOT FOUND THEN\n        RETURN NULL;\n    END IF;\n    IF p_in_cursor",
        "    WHERE s.tenant = p_tenant AND s.chat_id = p_chat\n"
        "    FOR NO KEY UPDATE OF h;\n    IF NOT FOUND THEN\n        RETURN NULL;\n    END IF;\n    IF p_in_cursor",
        tests=("tests/faults/test_postgres.py::test_nothing_of_a_former_epoch_is_written",),
    ),
    Bug(
        "no epoch check on the turn commit, in a file",
        "stores/sqlite_writes.py",
        'WHERE s.tenant = ? AND s.chat_id = ? AND l.epoch = ? AND l.owner = ?\n"""\n\n_HAS_WORK',
        'WHERE s.tenant = ? AND s.chat_id = ? AND (l.epoch = ? OR true) AND (l.owner = ? OR true)\n"""\n\n_HAS_WORK',
        tests=("tests/conformance/test_store_suite.py", "-k", "sqlite"),
    ),
    Bug(
        "cursor committed before its turn",
        "runtime/run.py",
        "        self._arrivals.begin(record, work)\n        self._live.taken_up = record\n        failpoints",
        "        await self._context.commit([])\n"
        "        self._arrivals.begin(record, work)\n        self._live.taken_up = record\n        failpoints",
        inv=(5, 6, 33),
    ),
    Bug(
        "resume inclusive",
        "runtime/outbox.py",
        "start = cursor + 1 - self._buffer[0].seq",
        "start = max(0, cursor - self._buffer[0].seq)",
        inv=(8,),
    ),
    Bug(
        "tool started before its intent",
        "runtime/response.py",
        'kind == "tool-input-available" or ',
        "",
        inv=(21,),
    ),
]
