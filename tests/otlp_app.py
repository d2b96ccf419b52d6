"""A program as teams have it: OpenTelemetry's SDK sends metrics over OTLP, and chatrt knows nothing of that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from chatrt import ChatAgent, SessionManager
from chatrt.clock import ManualClock
from chatrt.metrics import UNSERVED, WAITING_INPUTS
from chatrt.stores import MemoryStore, NewRecord, SessionKey
from tests.runtime.driver import Chat, kill, user


async def main(provider: MeterProvider) -> None:
    """Answer a turn whose first run died, and look at it while one more runs and one session waits for another agent."""
    gate, store, clock = asyncio.Event(), MemoryStore(), ManualClock()

    async def run(turn: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "text-start", "id": "t"}
        yield {"type": "text-delta", "id": "t", "delta": "half"}
        await gate.wait()
        yield {"type": "text-end", "id": "t"}

    agent = ChatAgent("otlp", run=run)
    died = SessionManager(agent, store)
    chat = Chat(await died.start_session("otlp", "chat"), died)
    first = await chat.inbox.send_message(user("hello"))
    await chat.until(lambda chunk: chunk["type"] == "text-delta")
    await kill(died)
    async with SessionManager(agent, store, clock=clock) as sessions:
        chat = Chat(await sessions.get_session("chat"), sessions)
        assert (await chat.settled(first)).status == "interrupted"
        key = SessionKey("", "waits")
        await store.create_session(key, agent="nobody", metadata={}, client_data=None, at=0)
        await store.append_in(key, NewRecord("message", b'{"message":{"role":"user"}}'), part_id=None, at=0)
        clock.advance(10)
        while not sessions.metrics.look(UNSERVED):
            await asyncio.sleep(0)
        await chat.inbox.send_message(user("again"))
        async for _ in chat.records():  # a reader stays attached while it is looked at
            if sessions.metrics.look(WAITING_INPUTS):
                await asyncio.to_thread(provider.force_flush)
                break
        gate.set()


if __name__ == "__main__":
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(sys.argv[1]))])
    metrics.set_meter_provider(meters)
    asyncio.run(main(meters))
    meters.shutdown()
