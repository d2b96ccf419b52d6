"""Attachments: a file is sent beside the conversation, a message names it, and the model reads it.

    FILE=$(curl -s localhost:8000/v1/sessions/c1/attachments -H 'content-type: text/csv' -H 'x-filename: sales.csv' \
        --data-binary @sales.csv | jq -r .url)

The session has to be there (`POST /v1/sessions`). The URL goes into a part {"type": "file", "mediaType", "url"} of a
user message; from Python, `await chat.upload("sales.csv")` gives the whole part. With ATTACHMENT_BUCKET the bytes are
kept in a bucket, and clients may send them there by themselves (protocol.md §5.9).
"""

from __future__ import annotations

import csv
import io
import os

from chatrt import Attachments, ChatAgent, Turn, create_app, current_turn, step_count_is, stream_text, tool
from chatrt.stores.s3 import S3Bucket

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
BUCKET = os.environ.get("ATTACHMENT_BUCKET")


@tool
async def sum_column(filename: str, column: str) -> float:
    """Add up a column of an attached CSV file: models are bad at it, programs are not."""
    turn = current_turn()
    parts = [part for message in turn.ui_messages for part in message["parts"] if part["type"] == "file"]
    part = next(part for part in reversed(parts) if part.get("filename") == filename)
    text = (await turn.files.read(part)).decode()
    return sum(float(row[column]) for row in csv.DictReader(io.StringIO(text)))


analyst = ChatAgent("analyst", tools=[sum_column])


@analyst.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages, tools=turn.tools, stop_when=step_count_is(8))


app = create_app(
    analyst,
    attachments=Attachments(
        types=["text/csv", "application/pdf", "image/png", "image/jpeg"],
        max_bytes=5 * 1024 * 1024,
        bucket=None if BUCKET is None else S3Bucket(BUCKET, endpoint=os.environ.get("ATTACHMENT_ENDPOINT")),
    ),
)
