"""The adapters cost nothing where they are not used, and say what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import chatrt.adapters


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("statement", ["import chatrt, chatrt.runtime", "import chatrt.adapters"])
def test_no_library_is_loaded_before_its_adapter(statement: str):
    """Neither chatrt nor the package of the adapters loads a library."""
    code = f"{statement}\nimport sys\nprint(sorted({{'pydantic_ai', 'agents', 'openai'}} & set(sys.modules)))"

    assert run_python(code) == "[]"


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("stream_pydantic_ai", "pydantic_ai", "pydantic-ai"),
        ("to_pydantic_ai", "pydantic_ai", "pydantic-ai"),
        ("stream_openai_agents", "agents", "openai-agents"),
    ],
)
def test_a_missing_library_is_named(name: str, library: str, extra: str):
    """Without its library an adapter says what to install."""
    code = f"""
import sys
sys.modules[{library!r}] = None
import chatrt.adapters
try:
    chatrt.adapters.{name}
except Exception as error:
    print(type(error).__name__, error)
"""

    said = run_python(code)

    assert said.startswith("UsageError")
    assert f"chatrt[{extra}]" in said


def test_other_names_are_no_adapters():
    """A name that is not there is an ordinary AttributeError."""
    with pytest.raises(AttributeError, match="stream_nothing"):
        chatrt.adapters.stream_nothing
