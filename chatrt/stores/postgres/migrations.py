"""The schema of the PostgreSQL store, version by version: explicit, reversible, and safe while older workers run.

A migration adds; what workers of the version before it call stays until a later one, and the database says which is the
oldest code that it serves. `sql/` holds for each version how to get there and how to go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from chatrt import failpoints
from chatrt.errors import UnreadableRecordError
from chatrt.stores.postgres.database import FAILURES, Connection, Target, connect, to_store_error

VERSION = 3
"""The schema this code makes."""

OLDEST = 3
"""The oldest schema this code works with: the database is migrated first, while the workers before go on."""

SERVES = {1: 1, 2: 1, 3: 1}
"""For each version of the schema the oldest code, by the version it makes, that may still run on it."""

_LOCK = 0x63687274  # "chrt": two processes that start at once do not both make the tables


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database says of its tables.

    Attributes:
        version: Of the schema; 0 where there is none.
        serves: The oldest code that may run on it.
    """

    version: int
    serves: int


@dataclass(frozen=True, slots=True)
class Migration:
    """One step between two versions.

    Attributes:
        version: The version it leads to; for a step back, the one it leaves.
        back: Whether it undoes that version.
        sql: The statements, one transaction.
    """

    version: int
    back: bool
    sql: str

    @property
    def reaches(self) -> int:
        """The version after it."""
        return self.version - 1 if self.back else self.version


async def find_schema(connection: Connection) -> Schema:
    """Return what the database says of its tables."""
    # Read from the table of tables: to_regclass may answer from a cache that is older than the lock taken before.
    found = "SELECT 1 FROM pg_tables WHERE schemaname = 'chatrt' AND tablename = 'schema_version'"
    if await connection.fetchval(found) is None:
        return Schema(0, 0)
    return Schema(*await connection.fetchrow("SELECT version, serves FROM chatrt.schema_version"))


def steps(present: int, wanted: int) -> list[Migration]:
    """Return what leads from one version to another, in order."""
    if wanted >= present:
        return [Migration(version, False, _read(version, "up")) for version in range(present + 1, wanted + 1)]
    return [Migration(version, True, _read(version, "down")) for version in range(present, wanted, -1)]


async def pending_migrations(url: str, *, to: int = VERSION) -> list[Migration]:
    """Return what `migrate` would do.

    Raises:
        StoreUnavailableError: If the server cannot be reached.
        UnreadableRecordError: If a newer version of chatrt made the schema.
    """
    connection = await connect(Target.parse(url))
    try:
        return steps((await _known(connection)).version, to)
    finally:
        await connection.close()


async def migrate(url: str, *, to: int = VERSION) -> list[Migration]:
    """Bring the schema to a version, forwards or backwards, and return the steps that were taken.

    Args:
        url: Of the database; its user may create schemas and tables.
        to: The version; 0 takes everything away, with all sessions.

    Raises:
        StoreUnavailableError: If the server cannot be reached.
        UnreadableRecordError: If a newer version of chatrt made the schema.
    """
    connection = await connect(Target.parse(url))
    try:
        return await _migrate(connection, to)
    finally:
        await connection.close()


async def ensure_schema(connection: Connection) -> None:
    """Make the tables in a database that has none.

    Raises:
        UnreadableRecordError: If the schema is one that this version does not work with.
    """
    present = await find_schema(connection)
    if present.version == 0:
        await _migrate(connection, VERSION)
    elif present.version < OLDEST:
        raise UnreadableRecordError("the database", f"its schema has version {present.version}; run `chatrt migrate`")
    elif present.serves > VERSION:
        raise _too_new(present)


async def _migrate(connection: Connection, to: int) -> list[Migration]:
    try:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            taken = steps((await _known(connection)).version, to)
            for step in taken:
                await connection.execute(step.sql)
                await _note(connection, step.reaches)
                failpoints.reach("migrate.step")
            return taken
    except FAILURES as error:
        raise to_store_error(error) from error


async def _note(connection: Connection, version: int) -> None:
    if version == 0:
        return  # the table went with the schema
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS chatrt.schema_version (version integer NOT NULL, serves integer NOT NULL)"
    )
    await connection.execute("DELETE FROM chatrt.schema_version")
    await connection.execute("INSERT INTO chatrt.schema_version VALUES ($1, $2)", version, SERVES[version])


async def _known(connection: Connection) -> Schema:
    present = await find_schema(connection)
    if present.version > VERSION:
        raise _too_new(present)
    return present


def _too_new(present: Schema) -> UnreadableRecordError:
    return UnreadableRecordError(
        "the database", f"a newer chatrt made its schema (version {present.version}; this one knows {VERSION})"
    )


def _read(version: int, way: str) -> str:
    return (resources.files("chatrt.stores.postgres") / "sql" / f"{version:03d}_{way}.sql").read_text()
