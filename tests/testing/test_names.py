"""The names that `import chatrt.testing` gives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from chatrt import testing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_can_be_used(name: str):
    """Each name is there."""
    assert getattr(testing, name) is not None


def test_types_and_names_agree():
    """`__init__.pyi` declares exactly the names that `__init__.py` gives."""
    stub = ast.parse(Path(testing.__file__).with_suffix(".pyi").read_text())
    imported = {
        (node.module, alias.name) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert imported == {(home, name) for name, home in testing._HOMES.items()}


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there fails as it does in any module."""
    with pytest.raises(AttributeError):
        _ = testing.nothing
