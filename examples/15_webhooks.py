"""Webhooks: an issue that is opened on GitHub starts a chat, and comments go on with it.

In the settings of the repository: the address `https://<this server>/v1/webhooks/github`, JSON, and the secret. Events
are believed by their signature, taken in once however often they come, and answered after they are on disk.
"""

from __future__ import annotations

import os

from chatrt import ChatAgent, Delivery, Turn, Webhook, WebhookEvent, create_app, stream_text

MODEL = os.environ.get("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
SYSTEM = "You sort the issues of a software project. Say what is missing to act on this one, in three sentences."

triage = ChatAgent("triage")


@triage.run
async def respond(turn: Turn):
    return stream_text(MODEL, turn.messages, system=SYSTEM)


async def to_chat(event: WebhookEvent) -> Delivery | None:
    match event.json:
        case {"action": "opened", "issue": {"number": number, "title": title, "body": body}}:
            text = f"{title}\n\n{body or ''}"
        case {"action": "created", "issue": {"number": number}, "comment": {"body": text}}:
            pass
        case _:
            return None
    return Delivery(chat_id=f"issue-{number}", agent="triage", message=text, metadata={"issue": number})


app = create_app(
    triage,
    webhooks=[Webhook("github", scheme="github", secret=os.environ.get("WEBHOOK_SECRET", "change me"), to=to_chat)],
)
