"""The playbook with a boot that takes 100 ms, and a head start for what its model answers."""

from __future__ import annotations

import asyncio

from chatrt.agent import ChatAgent
from chatrt.events import BootEvent
from chatrt.generate import TextStream, stream_text
from chatrt.server import HeadStartRequest, create_app
from chatrt.testing.playbook import MODEL, TOOLS, playbook
from chatrt.ui import message_text

BESIDE_THE_MODEL = ("fail", "data", "meta")
"""What the playbook answers by itself; there is no head start for that."""


async def boot(_event: BootEvent) -> None:
    await asyncio.sleep(0.1)


def warm(request: HeadStartRequest) -> TextStream | None:
    if message_text(request.message).startswith(BESIDE_THE_MODEL):
        return None
    return stream_text(MODEL, request.messages, tools=request.tools, send_sources=True)


slow = ChatAgent(playbook.id, tools=TOOLS, run=playbook.hooks.run, on_boot=boot, on_action=playbook.hooks.on_action)
app = create_app(slow, head_start=warm)
