"""`chatrt restore`: put a backup in the place of a SQLite store that nobody serves."""

from __future__ import annotations

import argparse
from pathlib import Path

from chatrt.cli.backup import sqlite_path
from chatrt.stores.sqlite_backup import restore_sqlite


def run(options: argparse.Namespace) -> int:
    """Put it there; what was there before is kept beside it.

    Raises:
        UsageError: If the store is no SQLite file.
        StoreError: If somebody serves the store, or the backup is not one that can be served.
    """
    path = sqlite_path(options.store)
    kept = restore_sqlite(Path(options.backup), path)
    print(f"{path} is what {options.backup} was")
    if kept is not None:
        print(f"what was there before is {kept}: remove it when you are sure")
    return 0
