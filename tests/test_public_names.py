"""The names that `import chatrt` gives."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chatrt


@pytest.mark.parametrize("name", chatrt.__all__)
def test_every_public_name_can_be_used(name: str):
    """Each name of `__all__` is there."""
    assert getattr(chatrt, name) is not None


def test_types_and_names_agree():
    """`__init__.pyi` declares exactly the names that `__init__.py` gives."""
    stub = ast.parse(Path(chatrt.__file__).with_suffix(".pyi").read_text())
    imported = {
        (node.module, alias.name) for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert imported == {(home, name) for name, home in chatrt._HOMES.items()}


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there fails as it does in any module."""
    with pytest.raises(AttributeError):
        _ = chatrt.nothing


def test_import_is_light():
    """`import chatrt`, the runtime and the server load neither litellm nor a model provider's SDK nor mcp."""
    code = (
        "import sys, chatrt; chatrt.SessionManager; chatrt.create_app; "
        "print({'litellm', 'openai', 'mcp'} & set(sys.modules))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "set()"
