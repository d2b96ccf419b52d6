"""What importing LiteLLMModel, and then litellm, costs and does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from chatrt.models.litellm import LiteLLMModel

ROOT = Path(__file__).parents[2]


def run_python(code: str) -> str:
    """Run code as a fresh process would, without what this process may have told litellm, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITELLM_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=50
    )
    return done.stdout


def test_module_does_not_import_litellm() -> None:
    """Importing the module, and making a model, leaves litellm, openai and httpx alone."""
    code = (
        "import sys; from chatrt.models.litellm import LiteLLMModel; LiteLLMModel('openai/x');"
        "print([name for name in ('litellm', 'openai', 'httpx', 'aiohttp') if name in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_loading_litellm_stays_off_the_network_and_silent() -> None:
    """Loading litellm asks no name server, opens no connection, and prints nothing."""
    code = (
        "import asyncio, sys; from chatrt.models.litellm_upstream import load_litellm\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event)"
        " if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname') else None)\n"
        "asyncio.run(load_litellm())\n"
        "seen and print(seen)"
    )
    assert run_python(code) == ""


def test_litellm_stays_out_of_the_collectors_way_where_the_process_does() -> None:
    """A process that froze what it started with has litellm frozen too, once; in any other nothing is."""
    code = (
        "import asyncio, gc\n"
        "from chatrt.models.litellm_upstream import load_litellm\n"
        "def frozen_by_loading():\n"
        "    before = gc.get_freeze_count()\n"
        "    asyncio.run(load_litellm())\n"
        "    return gc.get_freeze_count() - before\n"
        "{prepare}\n"
        "print(frozen_by_loading() > 10_000, frozen_by_loading() > 10_000)"
    )
    assert run_python(code.format(prepare="gc.freeze()")).split() == ["True", "False"]
    assert run_python(code.format(prepare="")).split() == ["False", "False"]


def test_settings_stay_out_of_the_repr() -> None:
    """The repr names the model and shows no setting, as one of them may be a key."""
    assert repr(LiteLLMModel("openai/x", api_key="sk-123456789")) == "LiteLLMModel('openai/x')"
