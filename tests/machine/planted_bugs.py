"""Bugs that somebody could make, each as a change of the text of one file of `chatrt/`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """What is wrong then, and how it comes about: `old`, which stands in the file once, becomes `new`.

    Where it shows under one busy policy only, `when_busy` names that: nobody has to look elsewhere.
    """

    name: str
    file: str
    old: str
    new: str
    when_busy: str = ""


BUGS = [
    # --- actions, edits, branches
    Bug(
        "what a failed action did to the history stays",
        "runtime/actions.py",
        "if not self.handled:\n            self.context.restore(",
        "if not self.handled and isinstance(outcome, Stopped):\n            self.context.restore(",
    ),
    Bug(
        "an edit leaves the messages behind it where they are",
        "runtime/merge.py",
        'history.rollback_to(known["id"])\n    if known != message:\n        history.slice(0, -1)\n        history.append(message)',
        'history.replace(known["id"], message)',
    ),
    Bug(
        "an answer that is given again takes the row of the old one",
        "message_tree.py",
        'TreeNode(self._ids.new("node"), parent',
        'TreeNode(parent.children[0].node_id if parent.children else self._ids.new("node"), parent',
    ),
    Bug(
        "a switch ends at the message that is named, not at the last one below",
        "message_tree.py",
        "newest = max(newest, one, key=_number)",
        "newest = node",
    ),
    Bug(
        "to regenerate an answer also takes back its question",
        "runtime/merge.py",
        "if end < len(messages):\n        history.slice(0, end)",
        "if end < len(messages):\n        history.slice(0, end - 1)",
    ),
    # --- stops and busy policies
    Bug(
        "a stop is lost while a hook runs",
        "runtime/work.py",
        "if not self.stop_signal.is_set():\n            self.stop_reason",
        "if self._generation is not None and not self.stop_signal.is_set():\n            self.stop_reason",
    ),
    Bug(
        "a stop that comes while the turn is being stored hits the next one",
        "runtime/arrivals.py",
        "if self.settled < self._at_hand_seq < record.seq and wanted in",
        "if self._at_hand is not None and self._at_hand_seq < record.seq and wanted in",
    ),
    Bug(
        "a stop that came before a crash is forgotten when a dead turn is closed",
        "runtime/boot.py",
        "    return unfinished\n",
        "        context.state.stop_cursor = snapshot.last_in_seq\n    return unfinished\n",
    ),
    Bug(
        "a newer message interrupts what runs, and not what waits",
        "runtime/arrivals.py",
        'self._state.stopped.update({w.seq: reason for w in self.queue if w.kind in ("message", "regenerate")})',
        "pass",
        when_busy="interrupt",
    ),
    Bug(
        "a newer message undoes an action that has not ended",
        "runtime/actions.py",
        "if self.handled:\n            self.stop(reason)",
        "self.stop(reason)",
        when_busy="interrupt",
    ),
    Bug(
        "who is busy refuses only what comes while a turn runs, not what comes while others wait",
        "stores/memory_session.py",
        "for _, record in self.inbox[self.in_cursor :])",
        "for _, record in self.inbox[self.in_cursor : self.in_cursor + 1])",
        when_busy="reject",
    ),
    # --- what waits, and steering
    Bug(
        "a withdrawn message has no turn-complete",
        "runtime/run.py",
        'await settle(self._context, {"inSeq": record.seq, "trigger": record.kind, "status": "withdrawn"})',
        "pass",
    ),
    Bug(
        "a message that was injected is answered again after a crash",
        "runtime/recovery.py",
        "    arrivals.take(batch)\n    work.context.injected += batch",
        "    work.context.injected += batch",
        when_busy="steer",
    ),
    Bug(
        "a message that was injected has a turn of its own as well",
        "runtime/steering.py",
        "self._context.injected += records\n",
        "self._context.injected += records\n            arrivals.queue.extend(records)\n",
        when_busy="steer",
    ),
    Bug(
        "what was injected is missing in later prompts",
        "runtime/work.py",
        "convert_segments(expand_injected(messages), tools=self.tools)",
        "convert_segments(messages, tools=self.tools)",
        when_busy="steer",
    ),
    Bug(
        "what was injected shows as waiting while its turn is being stored",
        "runtime/finish.py",
        "    context.settled_seq = await context.commit(records",
        "    context.injected.clear()\n    context.settled_seq = await context.commit(records",
        when_busy="steer",
    ),
    Bug(
        "an edit that came too late shows",
        "runtime/session.py",
        ' or body["inSeq"] == fixed:',
        ":",
    ),
    Bug(
        "an edit that came too late changes what a dead turn had answered",
        "runtime/arrivals.py",
        " or (target == self._begun_seq and record.seq > self._begun_edit_seq):",
        ":",
    ),
    Bug(
        "an edited message gets another id",
        "runtime/in_progress.py",
        'body["message"] = {**message, "id": body["message"]["id"]}',
        'body["message"] = message',
    ),
    # --- tools
    Bug(
        "a client may answer the server's tools",
        "runtime/merge.py",
        "client_tools=names - set(server_tools)",
        "client_tools=names",
    ),
    Bug(
        "an approval counts twice: the answer goes on once more",
        "runtime/turns.py",
        "unfinished = advanced or has_answers_to_continue(answered)",
        "unfinished = True",
    ),
    Bug(
        "an approval of any id is good for the call",
        "ui/tool_answers.py",
        'given.get("id") is None or given.get("id") != asked.get("id")',
        "not given",
    ),
    Bug(
        "an approved call that may have run runs again after a crash",
        "runtime/response.py",
        "return self._has_approved and self._started",
        "return False",
    ),
    Bug(
        "a tool starts before its call is on record",
        "runtime/response.py",
        'kind == "tool-input-available" or ',
        "",
    ),
    Bug(
        "half a call stays in the answer of a turn that was cut",
        "ui/merge.py",
        'elif state != "input-streaming":',
        "else:",
    ),
    # --- crashes
    Bug(
        "a partial answer is lost with its worker",
        "runtime/recovery.py",
        "await work.resume(turn.message_id, turn.base, turn.chunks, ",
        "await work.resume(turn.message_id, turn.base, [], ",
    ),
    Bug(
        "the cursor passes what waits",
        "runtime/arrivals.py",
        "return self.queue[0].seq - 1 if self.queue else self.read_cursor",
        "return self.read_cursor",
    ),
    Bug(
        "on_chat_start fires again when the first turn died",
        "runtime/turns.py",
        "if announced:\n            self.context.state.chat_started = True\n"
        "        self._resume_response(message_id, base, chunks)\n\n    def resume_unasked",
        "if not announced:\n            self.context.state.chat_started = True\n"
        "        self._resume_response(message_id, base, chunks)\n\n    def resume_unasked",
    ),
    Bug(
        "a run that came back and died comes back again",
        "runtime/boot.py",
        "resumed = not died and is_resumable(",
        "resumed = is_resumable(",
    ),
    Bug(
        "an input that is served again answers under another id",
        "runtime/work.py",
        "self._message_id = message_id\n",
        "self._message_id = None\n",
    ),
    # --- the lives of runs
    Bug(
        "what is idle leaves without its durable values",
        "runtime/context.py",
        "self.state.locals = self.control.locals.to_json()",
        "self.state.locals = self.control.locals.to_json() if records else self.state.locals",
    ),
    Bug(
        "a closed session drops its last input",
        "runtime/run.py",
        "while not self._draining:\n                if self._lifecycle",
        'while not self._draining and self._live.row.status != "closed":\n                if self._lifecycle',
    ),
    Bug(
        "on_boot does not fire again when it failed",
        "runtime/lifecycle.py",
        "await call(hooks.on_boot, event)\n",
        "self._booted = True\n            await call(hooks.on_boot, event)\n",
    ),
    Bug(
        "a run serves one turn more than it may",
        "runtime/lifecycle.py",
        "self._context.turns >= self._context.agent.max_turns",
        "self._context.turns > self._context.agent.max_turns",
    ),
    Bug(
        "a run counts its turns from the beginning when it comes back",
        "runtime/boot.py",
        "turns=state.run_turns if resumed else 0",
        "turns=0",
    ),
    # --- ends of turns, the log
    Bug(
        "a turn stays completed when its last hook before the end fails",
        "runtime/finish.py",
        "        return Failed(error)\n    error = work.answer_error",
        "        return outcome\n    error = work.answer_error",
    ),
    Bug(
        "the text of an exception reaches people",
        "runtime/finish.py",
        'return PublicFailure(code, f"{MASKED} ({error_id})", error_id)',
        "return PublicFailure(code, str(error), error_id)",
    ),
    Bug(
        "only the last turn is kept on the log",
        "runtime/finish.py",
        "KEPT_TURNS = 2",
        "KEPT_TURNS = 1",
    ),
    Bug(
        "a message that fails early is lost",
        "runtime/finish.py",
        "            history.append(message)\n            work.new_message = message",
        "            work.new_message = message",
    ),
    Bug(
        "what a turn used counts twice",
        "runtime/finish.py",
        "    state.add_usage(work.usage)\n",
        "    state.add_usage(work.usage)\n    state.add_usage(work.usage)\n",
    ),
    Bug(
        "readers see what is not stored yet",
        "runtime/outbox_writer.py",
        "            whole = replace(commit, records=records)\n            at = self._flusher.clock.now()\n",
        "            whole = replace(commit, records=records)\n            at = self._flusher.clock.now()\n"
        "            self._outbox.publish(self.stored_seq + 1, at, records[:-1])\n",
    ),
    Bug(
        "an append that is repeated is a second input",
        "stores/memory.py",
        "if part_id is not None and part_id in stored.parts:",
        "if part_id is None:",
    ),
]
