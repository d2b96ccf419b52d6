"""A client of the matrix of failpoints: raw HTTP, appends until it is told an answer, one reader that resumes by cursor."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from typing import Any

from tests.faults.histories import History, read_facts

AGAIN_SECONDS = 0.02
ANSWER_SECONDS = 1.0
"""How long an answer to a request may take before it counts as lost."""

QUIET_SECONDS = 1.0
"""After so long without a record a reader connects anew, perhaps to somebody else."""

PATIENCE_SECONDS = 25.0
"""How long anything may take, with all that goes wrong."""

DOWN = (OSError, http.client.HTTPException)


class RefusedError(Exception):
    """The server said no, and will not say anything else."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code


def _to_json(data: bytes) -> dict[str, Any]:
    """Read an answer; a server that comes to its end says plain words at times."""
    try:
        return json.loads(data)
    except ValueError:
        return {}


def _user(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "role": "user", "parts": [{"type": "text", "text": text}]}


class Client:
    """Says things to one chat and reads what comes.

    Args:
        port: Of the server it speaks to; changed when another one is to be asked.
        chat: The chat.
        history: Where it writes what it did.
    """

    def __init__(self, port: int, chat: str, history: History) -> None:
        self.port = port
        self.chat = chat
        self.records: list[tuple[str, dict[str, Any]]] = []
        self._history = history
        self._numbers = itertools.count(1)
        self._news = threading.Condition()
        self._over = False
        self._reader: threading.Thread | None = None

    # --- saying

    def create(self) -> None:
        """Make the chat, and read it from then on."""
        body = {"agent": "faulty", "chatId": self.chat}
        self.insist(lambda: self.request("POST", "/v1/sessions", body)[0] in (200, 201))
        self._reader = threading.Thread(target=self._read_on, daemon=True)
        self._reader.start()

    def say(self, text: str, *, steer: bool = False) -> int:
        """Append a user message; returns its seq."""
        name = f"user-{next(self._numbers)}"
        return self._append("message", {"message": _user(name, text), "steer": steer}, text=text, message=name)

    def edit(self, in_seq: int, text: str) -> int:
        """Change a message that waits."""
        return self._append("edit", {"inSeq": in_seq, "message": _user("edited", text)}, text=text)

    def withdraw(self, in_seq: int) -> int:
        """Take back a message that waits."""
        return self._append("withdraw", {"inSeq": in_seq}, text="")

    def regenerate(self) -> int:
        """Ask for another answer in place of the last one."""
        return self._append("regenerate", {}, text="")

    def allow(self) -> int:
        """Approve the one call of the last answer that waits for a person."""
        answer = next(one for one in reversed(self.messages()) if one["role"] == "assistant")
        part = next(one for one in answer["parts"] if one.get("state") == "approval-requested")
        part = {**part, "state": "approval-responded", "approval": {"id": part["approval"]["id"], "approved": True}}
        message = {"id": answer["id"], "role": "assistant", "parts": [part]}
        decided = [[part["toolCallId"], True]]
        return self._append("message", {"message": message}, text="", message=answer["id"], decisions=decided)

    def act(self) -> int:
        """Ask for the action."""
        return self._append("action", {"action": {"type": "note"}}, text="")

    def stop(self, in_seq: int) -> int:
        """Stop the turn of an input."""
        return self._append("stop", {"inSeq": in_seq}, text="", target=in_seq)

    def close_chat(self) -> None:
        """Close the chat."""
        self.insist(lambda: self.request("POST", f"{self._path}/close", {})[0] == 200)

    def messages(self) -> list[dict[str, Any]]:
        """Return the history as the server tells it."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            status, answer = self.request("GET", f"{self._path}/messages")
            found[:] = answer.get("messages", ())
            return status == 200

        self.insist(look)
        return found

    def _append(self, kind: str, body: dict[str, Any], **facts: Any) -> int:
        part = f"{self.chat}-{next(self._numbers)}"
        seqs: list[int] = []

        def attempt() -> bool:
            self._history.write("client", "append", chat=self.chat, part=part, kind=kind, **facts)
            try:
                status, answer = self.request("POST", f"{self._path}/in", {"kind": kind, **body}, part=part)
            except DOWN:
                self._history.write("client", "lost", chat=self.chat, part=part)
                raise
            if status == 202:
                seqs.append(answer["seq"])
                self._history.write("client", "acked", chat=self.chat, part=part, **answer)
                return True
            code = answer.get("error", {}).get("code", "")
            self._history.write("client", "refused", chat=self.chat, part=part, status=status, code=code)
            if 400 <= status < 500:
                raise RefusedError(status, code)
            return False

        self.insist(attempt)
        return seqs[0]

    def insist(self, attempt: Any) -> None:
        """Try again until it succeeds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                if attempt():
                    return
            except DOWN:
                pass
            time.sleep(AGAIN_SECONDS)
        raise AssertionError(f"chat {self.chat}: no answer in {PATIENCE_SECONDS} s")

    @property
    def _path(self) -> str:
        return f"/v1/sessions/{self.chat}"

    def request(self, method: str, path: str, body: Any = None, part: str | None = None) -> tuple[int, dict[str, Any]]:
        """Send one request over a connection of its own; returns the status and what was answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        headers = {} if part is None else {"idempotency-key": part}
        try:
            if body is not None:
                headers["content-type"] = "application/json"
                body = json.dumps(body)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
            return response.status, _to_json(data)
        finally:
            connection.close()

    # --- reading

    def wait_for(self, seq: int) -> dict[str, Any]:
        """Wait for the turn-complete of an input; returns its body."""
        found = self._wait(lambda: self.completes(seq))
        return found[-1]

    def completes(self, seq: int) -> list[dict[str, Any]]:
        """Return the turn-completes of an input that were read."""
        return [
            body
            for kind, body in list(self.records)
            if kind == "turn-complete" and body["inSeq"] == seq and not body.get("willRetry")
        ]

    def wait_for_start(self, seq: int) -> None:
        """Wait until the answer to an input has begun."""
        self._wait(lambda: any(kind == "turn-start" and body["inSeq"] == seq for kind, body in list(self.records)))

    def wait_for_words(self, count: int) -> None:
        """Wait until so many words were read."""
        self._wait(lambda: sum(body.get("type") == "text-delta" for _, body in list(self.records)) >= count)

    def wait_for_chunk(self, kind: str) -> None:
        """Wait until a chunk of this type was read."""
        self._wait(lambda: any(body.get("type") == kind for _, body in list(self.records)))

    def _wait(self, look: Any) -> Any:
        with self._news:
            assert self._news.wait_for(look, PATIENCE_SECONDS), f"chat {self.chat}: nothing came; {self.records[-3:]}"
        return look()

    def end(self) -> None:
        """End reading."""
        self._over = True
        if self._reader is not None:
            self._reader.join()

    def _read_on(self) -> None:
        cursor = 0
        while not self._over:
            try:
                for seq, kind, data in self._stream(cursor):
                    self._history.write(
                        "client", "read", chat=self.chat, reader=self.chat, seq=seq, kind=kind, **read_facts(kind, data)
                    )
                    cursor = seq
                    with self._news:
                        self.records.append((kind, json.loads(data)))
                        self._news.notify_all()
            except DOWN:
                time.sleep(AGAIN_SECONDS)

    def _stream(self, cursor: int) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=QUIET_SECONDS)
        facts = {"chat": self.chat, "reader": self.chat, "after": cursor}
        try:
            connection.request("GET", f"{self._path}/out", headers={"last-event-id": str(cursor)})
            response = connection.getresponse()
            if response.status != 200:
                code = _to_json(response.read()).get("error", {}).get("code", "")
                self._history.write("client", "not-opened", **facts, status=response.status, code=code)
                time.sleep(AGAIN_SECONDS)
                return
            self._history.write("client", "opened", **facts)
            rest = b""
            while not self._over and (data := response.read1(65536)):
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    lines = [line.split(b": ", 1) for line in event.split(b"\n") if line and line[:1] != b":"]
                    fields = dict(lines)
                    if b"id" in fields:
                        yield int(fields[b"id"]), fields.get(b"event", b"chunk").decode(), fields[b"data"]
        finally:
            connection.close()
