"""What `docs/operations.md` says, done."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx

from chatrt.metrics import CATALOGUE
from tests.cli.conftest import REPOSITORY, Chatrt, chatrt, free_port

__all__ = ["chatrt"]

PAGE = (REPOSITORY / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_commands_of_the_page_work(chatrt: Chatrt):
    """Each block that is meant to be run ends well, one after another."""
    shutil.copy(chatrt.folder / "agent_file.py", chatrt.folder / "agent.py")
    tools = chatrt.folder / "bin"
    tools.mkdir()
    for name, command in (("chatrt", f"{sys.executable} -m chatrt.cli"), ("python", sys.executable)):
        (tools / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tools / name).chmod(0o755)
    port = free_port()
    _, url = await chatrt.serve("agent.py", "--store", "sqlite:///chat.db", port=port)
    async with httpx.AsyncClient(base_url=url) as http:
        (await http.post("/v1/sessions", json={"agent": "hello", "chatId": "welcome"})).raise_for_status()
    environment = chatrt.environment(PATH=f"{tools}:{os.environ['PATH']}")
    assert len(BLOCKS) >= 6
    for block in BLOCKS:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-ec",
            block.replace(":8000", f":{port}"),
            cwd=chatrt.folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, f"{block}\n{said.decode()}"
    assert (chatrt.folder / "welcome.jsonl").stat().st_size
    assert len(list(Path(chatrt.folder, "backups").glob("chat-*Z.db"))) == 1


def test_every_metric_is_on_the_page():
    """The list of metrics is that of the code."""
    listed: list[Any] = re.findall(r"^\| `(chatrt_\w+)(?:\{([^}]*)\})?` \| (.*) \|$", PAGE, re.MULTILINE)
    expected = [
        (f"{one.name}_total" if one.kind == "counter" else one.name, ", ".join(one.labels), one.help)
        for one in CATALOGUE
    ]
    assert listed == expected
