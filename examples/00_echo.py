"""The smallest agent: it says what it was told.

chatrt dev examples/00_echo.py (with a page) or chatrt chat examples/00_echo.py (in the terminal)
"""

from __future__ import annotations

from chatrt import ChatAgent, Turn, create_app
from chatrt.ui import message_text

echo = ChatAgent("echo")


@echo.run
async def respond(turn: Turn) -> str:
    return message_text(turn.ui_messages[-1])


app = create_app(echo)
