"""`chatrt migrate`: bring the tables of a PostgreSQL store to another version, forwards or back."""

from __future__ import annotations

import argparse
import asyncio
import os

from chatrt.errors import UsageError


def run(options: argparse.Namespace) -> int:
    """Migrate, or say what would be done.

    Raises:
        UsageError: If the store needs no migrations, or there is no such version.
        StoreError: If the database cannot be reached, or a newer version made its tables.
    """
    url: str = options.store or os.environ.get("CHATRT_STORE") or ""
    if not url.startswith(("postgresql://", "postgres://")):
        raise UsageError("only a PostgreSQL store is migrated; a SQLite file is brought up to date when it is opened")
    try:
        # Here, because asyncpg is an extra.
        from chatrt.stores.postgres import VERSION, migrate, pending_migrations
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs an extra: pip install 'chatrt[postgres]'") from error
    wanted = VERSION if options.to is None else options.to
    if not 0 <= wanted <= VERSION:
        raise UsageError(f"there is no version {wanted}: this chatrt knows 0 to {VERSION}")
    if wanted == 0 and not (options.dry_run or options.yes):
        raise UsageError("version 0 removes all sessions for good; say --yes as well")
    steps = asyncio.run((pending_migrations if options.dry_run else migrate)(url, to=wanted))
    for step in steps:
        done = "would " if options.dry_run else ""
        print(f"{done}{'undo' if step.back else 'make'} version {step.version}")
    if not steps:
        print(f"nothing to do: the tables have version {wanted}")
    return 0
