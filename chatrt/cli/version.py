"""`chatrt version`: which chatrt this is."""

from __future__ import annotations

import argparse

from chatrt import __version__


def run(options: argparse.Namespace) -> int:
    """Print the version."""
    del options
    print(f"chatrt {__version__}")
    return 0
