"""What is said when the library of an adapter is not there."""

from __future__ import annotations

from chatrt.errors import UsageError


def missing_extra(extra: str, error: ImportError) -> UsageError:
    """Return the error that names the extra to install."""
    return UsageError(f'{error}; this adapter needs: pip install "chatrt[{extra}]"')
