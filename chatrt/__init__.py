"""chatrt: write an agent as an async function, get durable conversations."""

from __future__ import annotations

__version__ = "0.1.0"
