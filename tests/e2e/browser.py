"""Plays a scenario of a script in Chromium; the script asks for what it cannot do itself, such as killing the server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SHOTS = HERE.parents[1] / "artefacts"


def play(node: str, script: str, scenario: str, url: str, **please: Callable[[], object]) -> Any:
    """Run `node <script> <scenario> <url> <folder for screenshots>` and return the result it prints.

    The script prints `{"please": name}` to have `please[name]` called, and goes on when it reads a line.
    """
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "Chromium is needed: apt-get install chromium"
    command = [node, script, scenario, url, str(SHOTS)]
    env = {**os.environ, "CHROMIUM": chromium}
    with subprocess.Popen(
        command, cwd=HERE, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        said: dict[str, Any] = {}
        for line in running.stdout:
            said = json.loads(line)
            if "please" in said:
                please[said["please"]]()
                running.stdin.write("done\n")
                running.stdin.flush()
    assert "result" in said, said
    assert said["errors"] == []
    return said["result"]
