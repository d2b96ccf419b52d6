"""`chatrt chat` through pipes."""

from __future__ import annotations

import signal
from pathlib import Path

PLAYBOOK = "chatrt.testing.playbook:playbook"


def talk(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


async def test_each_line_is_answered(chatrt):
    """Every line of the input is a message; the output is the answers."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("echo one", "history"))
    assert (done.code, done.out.splitlines()) == (0, ["one", "3"])


async def test_tools_are_shown_in_a_line_each(chatrt):
    """A tool call and its result are one line each."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("tool 2+3"))
    assert done.out.splitlines() == ['[add {"a": 2, "b": 3}]', "[add: 5]", "5"]


async def test_approvals_are_asked(chatrt):
    """An approval is asked for; only yes is yes."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("approve bob", "y", "approve eve", "n"))
    assert [line.rpartition("] ")[2] for line in done.out.splitlines() if "sent" in line and "[send" not in line] == [
        "sent",
        "not sent",
    ]
    assert 'allow send_email {"to": "bob"}? [y/N] ' in done.out


async def test_client_tools_are_asked(chatrt):
    """The call of a client's tool is a question to the person."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("ask which colour", "blue"))
    assert done.out.splitlines()[-1].endswith("answer: blue")
    assert '{"question": "which colour"}' in done.out


async def test_stop(chatrt):
    """`/stop` ends the answer that is streaming; the next line is a message again."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("sleep", "/stop", "echo after"))
    assert done.out.splitlines()[-2:] == ["(stopped)", "after"]


async def test_interrupt_stops_the_answer(chatrt):
    """Ctrl-C while an answer streams stops the answer, not the conversation."""
    process = await chatrt.start("chat", PLAYBOOK)
    process.stdin.write(b"sleep\n")
    assert await process.stdout.readexactly(3) == b"w0 "
    process.send_signal(signal.SIGINT)
    out, _ = await process.communicate(b"echo after\n")
    assert out.decode().splitlines()[-2:] == ["(stopped)", "after"]
    assert process.returncode == 0


async def test_interrupt_between_answers_leaves(chatrt):
    """Ctrl-C while nothing streams leaves, with exit code 0."""
    process = await chatrt.start("chat", PLAYBOOK)
    process.stdin.write(b"echo x\n/help\n")
    while not (await process.stdout.readline()).startswith(b"/quit"):
        pass  # the help is printed when the answer is over
    process.send_signal(signal.SIGINT)
    # Its end is not fed: only the signal can end it.
    assert await process.wait() == 0


async def test_answers_stream(chatrt):
    """Text is printed as it comes, not when the answer is over."""
    process = await chatrt.start("chat", PLAYBOOK)
    process.stdin.write(b"sleep\n")
    assert await process.stdout.readexactly(6) == b"w0 w1 "
    assert process.returncode is None


async def test_undo_and_regenerate(chatrt):
    """`/undo` and `/regenerate` do what they say."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("echo one", "/regenerate", "echo two", "/undo", "history"))
    assert done.out.splitlines() == ["one", "one", "two", "3"]


async def test_quit(chatrt):
    """`/quit` leaves what follows unread."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("echo one", "/quit", "echo two"))
    assert (done.code, done.out) == (0, "one\n")


async def test_unknown_command(chatrt):
    """A line that looks like a command and is none is not sent."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("/dance", "history"))
    assert done.out.splitlines() == ["there is no /dance; /help lists what there is", "1"]


async def test_a_failed_answer_is_told(chatrt):
    """A failed answer is an error line; as the last one it makes exit code 1."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("fail"))
    assert done.code == 1
    assert done.out.startswith("error: An error occurred.")
    assert "boom-secret" not in done.out


async def test_what_commands_a_terminal_is_taken_out(chatrt):
    """Escape sequences in an answer do not reach the terminal."""
    done = await chatrt.run("chat", PLAYBOOK, stdin=talk("echo \x1b[31mred\x07"))
    assert done.out == "[31mred\n"


async def test_a_server(chatrt):
    """With a URL it talks to a server, and goes on with a chat by its id."""
    _, url = await chatrt.serve("chatrt.testing.playbook:app", "--store", "memory://")
    remote = ["chat", "--url", url, "--agent", "playbook", "--id", "c1"]
    assert (await chatrt.run(*remote, stdin=talk("echo one"))).out == "one\n"
    assert (await chatrt.run(*remote, stdin=talk("history"))).out == "3\n"


async def test_a_chat_that_is_kept(chatrt):
    """With a store and an id a chat with a target goes on later."""
    kept = ["chat", PLAYBOOK, "--store", "sqlite:///kept.db", "--id", "c1"]
    await chatrt.run(*kept, stdin=talk("echo one"))
    assert (await chatrt.run(*kept, stdin=talk("history"))).out == "3\n"


async def test_nothing_is_left_behind(chatrt):
    """Without a store the chat is in memory, whatever the target's own application says."""
    await chatrt.run("chat", "chatrt.testing.playbook:app", stdin=talk("echo one"))
    assert [path.name for path in Path(chatrt.folder).iterdir() if path.suffix == ".db"] == []


async def test_no_server(chatrt):
    """A server that is not there is one sentence and exit code 1."""
    done = await chatrt.run("chat", "--url", "http://127.0.0.1:9", "--agent", "a", stdin=talk("hi"))
    assert done.code == 1
    assert "server-unavailable" in done.out + done.err
    assert "Traceback" not in done.err


async def test_what_to_talk_to_must_be_clear(chatrt):
    """A target or a URL, and with a URL the agent."""
    for arguments in (
        [],
        [PLAYBOOK, "--url", "http://127.0.0.1:9"],
        ["--url", "http://127.0.0.1:9"],
        [PLAYBOOK, "--agent", "x"],
    ):
        done = await chatrt.run("chat", *arguments)
        assert (done.code, done.err.count("\n")) == (2, 1)
