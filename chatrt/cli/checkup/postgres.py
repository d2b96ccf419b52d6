"""Checks of a PostgreSQL database: settings, tables, whether processes hear of each other, and work that waits."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator
from typing import Any

from chatrt.cli.checkup.finding import Finding
from chatrt.errors import ChatrtError
from chatrt.ids import RandomIds

SKEW_SECONDS = 5.0
NOTICE_SECONDS = 3.0
"""How long a notification may take."""

LONG_SECONDS = 60.0
"""How long work may wait until it is worth a warning: longer than a process takes to be started again."""

_WORK = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp()) - min(h.updated_at), 0)::float8
FROM chatrt.work w JOIN chatrt.heads h USING (sid)
WHERE (h.in_last > h.in_cursor OR h.out_last > h.settled_seq)
    AND (h.owner IS NULL OR h.expires_at < extract(epoch FROM clock_timestamp()))
"""


async def check_postgres(url: str) -> AsyncIterator[Finding]:
    """Look at a database; nothing is made or changed."""
    # By name, because asyncpg is an extra; that it is there was found out by open_store.
    database: Any = importlib.import_module("chatrt.stores.postgres.database")
    migrations: Any = importlib.import_module("chatrt.stores.postgres.migrations")
    target = database.Target.parse(url)
    try:
        connection = await database.connect(target)
    except ChatrtError as error:
        yield Finding("store", "problem", str(error), "check the address, the password and pg_hba.conf")
        return
    try:
        yield Finding("store", "ok", f"{target.shown} answers")
        schema = await migrations.find_schema(connection)
        yield _schema_finding(schema, migrations.VERSION, migrations.OLDEST)
        for finding in await _check_settings(connection, target.pool_size, database.MIN_SERVER):
            yield finding
        yield await _check_notices(database, target)
        if 0 < schema.serves <= migrations.VERSION:
            yield await _check_work(connection)
    except (*database.FAILURES, ChatrtError) as error:
        text = str(database.to_store_error(error))
        yield Finding("store", "problem", text, "grant the user of the URL what it needs")
    finally:
        await connection.close()


def _schema_finding(schema: Any, version: int, oldest: int) -> Finding:
    if schema.version == 0:
        return Finding("store-version", "note", "there are no tables yet; the first start makes them")
    if schema.serves > version:
        text = f"a newer chatrt made the tables (version {schema.version}; this one knows {version})"
        return Finding("store-version", "problem", text, "pip install -U chatrt")
    if schema.version < oldest:
        return Finding("store-version", "problem", f"the tables have version {schema.version}", "chatrt migrate")
    if schema.version < version:
        return Finding("store-version", "warning", f"the tables have version {schema.version}", "chatrt migrate")
    return Finding("store-version", "ok", f"the tables have version {schema.version}")


async def _check_settings(connection: Any, pool_size: int, min_server: int) -> list[Finding]:
    async def setting(name: str) -> str:
        return await connection.fetchval("SELECT current_setting($1)", name)

    found: list[Finding] = []
    number = int(await setting("server_version_num"))
    if number < min_server:
        text = f"PostgreSQL {await setting('server_version')} is too old"
        found.append(Finding("store-server", "problem", text, f"upgrade it to {min_server // 10_000}"))
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        text = "the server is a standby: it takes no writes"
        found.append(Finding("store-server", "problem", text, "target_session_attrs=read-write in the URL"))
    for name, wanted in (("fsync", "on"), ("full_page_writes", "on")):
        if await setting(name) != wanted:
            text = f"{name} is off: a loss of power may lose or damage what was acknowledged"
            found.append(Finding("store-durability", "problem", text, f"{name} = on in postgresql.conf"))
    if await setting("synchronous_commit") == "off":
        text = "synchronous_commit is off by default; chatrt asks for it with each of its connections"
        found.append(Finding("store-durability", "note", text))
    if not any(one.check == "store-durability" and one.level == "problem" for one in found):
        found.append(Finding("store-durability", "ok", "what is acknowledged survives a loss of power"))
    encoding = await setting("server_encoding")
    if encoding != "UTF8":
        text = f"the database keeps text as {encoding}: chats with other characters in their ids are refused"
        found.append(Finding("store-encoding", "problem", text, "CREATE DATABASE ... ENCODING 'UTF8'"))
    most = int(await setting("max_connections"))
    if pool_size + 1 > most // 2:
        text = f"one process takes up to {pool_size + 1} of {most} connections"
        found.append(Finding("store-connections", "warning", text, "pool_size=5 in the URL, or more max_connections"))
    skew = abs(float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())")) - time.time())
    if skew > SKEW_SECONDS:
        text = f"the clocks of this machine and of the database differ by {skew:.0f} s"
        found.append(Finding("clock", "warning", text, "run an NTP client on both"))
    return found


async def _check_notices(database: Any, target: Any) -> Finding:
    """Send a notification the way that workers do, and listen where they listen."""
    channel, heard = RandomIds().new("doctor").lower(), asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    listening = await database.connect(target.for_listening())
    try:
        await listening.add_listener(channel, hear)
        telling = await database.connect(target)
        try:
            await telling.execute("SELECT pg_notify($1, '')", channel)
            await asyncio.wait_for(heard.wait(), NOTICE_SECONDS)
        finally:
            await telling.close()
    except TimeoutError:
        text = "notifications do not arrive: processes learn of each other's work seconds late, as behind a pooler"
        fix = "listen_url=postgresql://... in the URL: the database's own address, past PgBouncer"
        return Finding("store-notices", "problem", text, fix)
    finally:
        await listening.close()
    return Finding("store-notices", "ok", "processes hear of each other")


async def _check_work(connection: Any) -> Finding:
    waiting, seconds = await connection.fetchrow(_WORK)
    if waiting and seconds > LONG_SECONDS:
        text = f"{waiting} sessions wait and nobody serves them, the first one for {seconds:.0f} s"
        fix = "start a worker, of a version that has their agents; look for what its log says of them"
        return Finding("store-work", "warning", text, fix)
    return Finding("store-work", "ok", f"{waiting or 'no'} sessions wait for a worker")
