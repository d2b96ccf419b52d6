"""The application of `tests.bench.scale`: an agent that says as many words, as far apart, as its client data ask for."""

from __future__ import annotations

from typing import Any

from chatrt import ChatAgent, FunctionModel, create_app, stream_text
from tests.bench.serve_streams import parts


def respond(turn: Any) -> Any:
    """Answer with `[count, pause]` of the client data."""
    count, pause = turn.client_data
    return stream_text(FunctionModel(lambda request: parts(count, pause)), turn.messages)


app = create_app(ChatAgent("bench", run=respond, idle_timeout=0.0))
