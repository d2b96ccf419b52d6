"""How the tests of the examples get at them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """Load an example as a program of its own would be, with its files in a fresh directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHATRT_STORE", "memory://")
    monkeypatch.delenv("CHATRT_MODEL", raising=False)

    def load(name: str) -> ModuleType:
        module_name = f"example_{name}"
        spec = importlib.util.spec_from_file_location(module_name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)
        spec.loader.exec_module(module)
        return module

    return load
