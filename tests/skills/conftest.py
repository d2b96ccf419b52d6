"""A skill on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chatrt.skills import Skill

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a skill's `SKILL.md` and return its folder."""

    def write(text: str, folder: str = "refunds") -> Path:
        path = tmp_path / "skills" / folder
        path.mkdir(parents=True)
        (path / "SKILL.md").write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def refunds(write: Write) -> Skill:
    """A skill with a file, and a secret beside its folder."""
    path = write("---\nname: refunds\ndescription: Refund an order.\n---\n# Refunds\nRead references/policy.md.\n")
    (path / "references").mkdir()
    (path / "references" / "policy.md").write_text("Within 30 days.")
    (path.parent / "secret.txt").write_text("secret")
    return Skill.load(path)
