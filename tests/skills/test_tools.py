"""The tools by which a model uses skills."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from chatrt.errors import UsageError
from chatrt.generate import stream_text
from chatrt.models import ScriptedModel
from chatrt.models.scripted import call, text, tool_call
from chatrt.skills import Skill, skill_tools, skills_preamble
from chatrt.tools import ToolContext, overlay_tools, tool, tool_map

CONTEXT = ToolContext(tool_call_id="c1", tool_name="t")


async def use(skill: Skill, name: str, arguments: dict[str, Any], **options: Any) -> Any:
    """Call a tool as the loop does."""
    return await tool_map(skill_tools([skill], **options))[name].execute(arguments, CONTEXT)


async def read(skill: Skill, path: str) -> Any:
    return await use(skill, "read_file", {"skill": "refunds", "path": path})


async def bash(skill: Skill, command: str, **options: Any) -> Any:
    return await use(skill, "bash", {"skill": "refunds", "command": command}, allow_bash=True, **options)


# --- which there are


@pytest.mark.behaviour(185)
def test_three_tools(refunds):
    """Skills come with tools to load one, to read its files and, when it is allowed, to run commands."""
    assert [item.name for item in skill_tools([refunds])] == ["load_skill", "read_file"]
    assert [item.name for item in skill_tools([refunds], allow_bash=True)] == ["load_skill", "read_file", "bash"]


def test_two_skills_of_one_name_are_a_mistake(refunds):
    """The model could not tell them apart."""
    with pytest.raises(UsageError, match="refunds"):
        skill_tools([refunds, refunds])


async def test_bash_may_need_approval(refunds):
    """A person can be asked before a command runs."""
    tools = tool_map(skill_tools([refunds], allow_bash=True, bash_needs_approval=True))
    assert (await tools["bash"].approval({}, CONTEXT)).kind == "ask"
    assert (await tools["read_file"].approval({}, CONTEXT)).kind == "none"


def test_own_tools_win(refunds):
    """`overlay_tools` puts an application's tool in the place of one with the same name."""

    @tool
    async def read_file(path: str) -> str:
        """Read."""
        return path

    tools = overlay_tools(skill_tools([refunds]), [read_file])

    assert [item.name for item in tools] == ["load_skill", "read_file"]
    assert tools[1] is read_file


@pytest.mark.behaviour(184, 186)
async def test_a_model_loads_a_skill(refunds):
    """A model that is told of skills loads one and goes on with its instructions."""
    model = ScriptedModel([call(tool_call("load_skill", {"name": "refunds"})), call(text("Done."))])

    stream = stream_text(
        model,
        [{"role": "user", "content": "Refund my order."}],
        system=skills_preamble([refunds]),
        tools=[*skill_tools([refunds], allow_bash=True)],
    )

    assert await stream.text() == "Done."
    assert "- refunds: Refund an order." in model.requests[0].messages[0]["content"]
    output = model.requests[1].messages[-1]["content"][0]["output"]["value"]
    assert output["body"] == "# Refunds\nRead references/policy.md."


# --- load_skill


@pytest.mark.behaviour(186)
async def test_loading_gives_the_body_and_the_path(refunds):
    """`load_skill` gives the name, the description, the instructions and the folder."""
    assert await use(refunds, "load_skill", {"name": "refunds"}) == {
        "name": "refunds",
        "description": "Refund an order.",
        "body": "# Refunds\nRead references/policy.md.",
        "path": str(refunds.path),
    }


@pytest.mark.behaviour(187)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("load_skill", {"name": "refund"}),
        ("read_file", {"skill": "refund", "path": "a"}),
        ("bash", {"skill": "refund", "command": "true"}),
    ],
)
async def test_an_unknown_skill_is_an_error_value(refunds, name: str, arguments: dict[str, Any]):
    """A wrong name is answered with the names there are; the call does not fail."""
    assert await use(refunds, name, arguments, allow_bash=True) == {
        "error": "there is no skill 'refund'; available: refunds"
    }


# --- read_file


@pytest.mark.behaviour(188)
async def test_a_file_is_read(refunds):
    """`read_file` gives the text of a file of the skill."""
    assert await read(refunds, "references/policy.md") == {"content": "Within 30 days."}


@pytest.mark.behaviour(189)
@pytest.mark.parametrize("path", ["../secret.txt", "references/../../secret.txt", "../refunds/../secret.txt"])
async def test_a_path_cannot_lead_out(refunds, path: str):
    """A path with `..` that leaves the folder is refused."""
    assert "outside" in (await read(refunds, path))["error"]


@pytest.mark.behaviour(190)
@pytest.mark.parametrize("path", ["/etc/passwd", "C:\\secret.txt", "\\\\host\\secret.txt", "\\secret.txt"])
async def test_an_absolute_path_is_refused(refunds, path: str):
    """A path is relative to the skill; an absolute one of any system is refused."""
    assert "outside" in (await read(refunds, path))["error"]


async def test_an_absolute_path_into_the_skill_is_refused_too(refunds):
    """Also one that would lead into the folder: where that lies is nobody's business."""
    assert "outside" in (await read(refunds, str(refunds.path / "SKILL.md")))["error"]


@pytest.mark.behaviour(189)
async def test_a_link_cannot_lead_out(refunds):
    """A symbolic link to a file or through a folder outside is refused."""
    (refunds.path / "file").symlink_to(refunds.path.parent / "secret.txt")
    (refunds.path / "folder").symlink_to(refunds.path.parent)
    assert "outside" in (await read(refunds, "file"))["error"]
    assert "outside" in (await read(refunds, "folder/secret.txt"))["error"]


async def test_a_link_inside_is_followed(refunds):
    """A symbolic link that stays in the folder is as good as a file."""
    (refunds.path / "latest").symlink_to("references/policy.md")
    assert await read(refunds, "latest") == {"content": "Within 30 days."}


async def test_what_is_no_file_is_not_opened(refunds):
    """A folder, a named pipe (which would be waited for), a circle of links and nothing at all are errors."""
    os.mkfifo(refunds.path / "pipe")
    (refunds.path / "circle").symlink_to("circle")
    for path in ("references", "", "pipe", "circle", "nothing", "references/policy.md/x", "a\0b"):
        assert set(await read(refunds, path)) == {"error"}, path


async def test_no_descriptor_is_left_open(refunds):
    """Reading and failing to read close what they opened."""
    (refunds.path / "file").symlink_to(refunds.path.parent / "secret.txt")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("references/policy.md", "references", "file", "nothing"):
        await read(refunds, path)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_long_file_is_cut_with_a_notice(refunds):
    """The first MiB of a file is given, whole characters only, and the model is told that there is more."""
    (refunds.path / "long.txt").write_text("é" * (1024 * 1024), encoding="utf-8")
    (refunds.path / "odd.txt").write_text("x" + "é" * (1024 * 1024), encoding="utf-8")

    content = (await read(refunds, "long.txt"))["content"]
    odd = (await read(refunds, "odd.txt"))["content"]

    assert content == "é" * (512 * 1024) + "\n[cut off: these are the first 1048576 of 2097152 bytes]"
    assert odd.startswith("x" + "é" * (512 * 1024 - 1) + "\n[cut off")


async def test_a_binary_file_is_refused(refunds):
    """What holds a NUL is no text."""
    (refunds.path / "a.png").write_bytes(b"\x89PNG\0")
    assert "not a text file" in (await read(refunds, "a.png"))["error"]


# --- bash


@pytest.mark.behaviour(191)
async def test_output_is_captured(refunds):
    """`bash` runs in the skill's folder and gives what was written to both outputs, and the exit code."""
    assert await bash(refunds, "cat references/*; echo no >&2") == {
        "exitCode": 0,
        "stdout": "Within 30 days.",
        "stderr": "no\n",
    }


@pytest.mark.behaviour(192)
async def test_an_exit_code_is_reported(refunds):
    """A command that fails is an output with its exit code, not a failed call."""
    assert (await bash(refunds, "exit 3"))["exitCode"] == 3


async def test_outputs_are_cut_each(refunds):
    """64 KiB of each output are kept, the head, with a notice; a command that writes more is not held up."""
    done = await bash(refunds, "head -c 1000000 /dev/zero | tr '\\0' x; head -c 70000 /dev/zero | tr '\\0' y >&2")
    assert done["exitCode"] == 0
    assert done["stdout"] == "x" * 65536 + "\n[cut off: these are the first 65536 of 1000000 bytes]"
    assert done["stderr"] == "y" * 65536 + "\n[cut off: these are the first 65536 of 70000 bytes]"


async def test_bytes_that_are_no_text_are_replaced(refunds):
    """Output is always a text that can be stored."""
    assert (await bash(refunds, "printf 'a\\0b\\377'"))["stdout"] == "a\ufffdb\ufffd"


async def test_nothing_is_read_from_standard_input(refunds):
    """A command that asks for input gets none and goes on."""
    assert (await bash(refunds, "cat; echo end"))["stdout"] == "end\n"


async def test_secrets_of_the_environment_are_not_passed_on(refunds, monkeypatch):
    """A command sees a few harmless variables and those it was given."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    done = await bash(refunds, 'echo "$OPENAI_API_KEY|$REGION|${PATH:+path}"', bash_environment={"REGION": "eu"})
    assert done["stdout"] == "|eu|path\n"


async def test_a_command_has_its_time(refunds):
    """After the timeout the command is killed; what it wrote until then is kept."""
    done = await bash(refunds, "echo began; sleep 600", bash_timeout=0.5)
    assert done == {"error": "the command was killed after 0.5 seconds", "stdout": "began\n", "stderr": ""}


def test_bash_has_a_minute(refunds):
    """Without a word about it a command may take 60 seconds."""
    assert skill_tools.__kwdefaults__["bash_timeout"] == 60


async def test_a_background_job_does_not_outlive_its_command(refunds):
    """What a command leaves running is killed and is not waited for, though it holds the outputs open."""
    done = await bash(refunds, "sleep 600 & echo $!")
    assert done["exitCode"] == 0
    await gone(int(done["stdout"]))


async def test_a_cancelled_command_is_killed_with_its_children(refunds):
    """Cancelling a call kills the command's process group and leaves no zombie."""
    fifo = refunds.path / "pids"
    os.mkfifo(fifo)
    running = asyncio.create_task(bash(refunds, "sleep 600 & echo $$ $! > pids; wait"))
    pids = [int(pid) for pid in (await asyncio.to_thread(fifo.read_text)).split()]
    assert [alive(pid) for pid in pids] == [True, True]

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not Path(f"/proc/{pids[0]}").exists()  # a zombie would still be there
    await gone(pids[1])


async def test_a_command_that_is_cancelled_as_it_starts_is_killed_with_its_children(refunds):
    """A command whose start was not reported yet when its caller was cancelled leaves nothing behind either."""
    fifo = refunds.path / "pids"
    os.mkfifo(fifo)
    before = children()
    running = asyncio.create_task(bash(refunds, "sleep 600 & echo $$ $! > pids; wait"))
    while children() == before:
        await asyncio.sleep(0)
    pids = [int(pid) for pid in fifo.read_text().split()]  # the loop stands still while the command gets going

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    for pid in pids:
        await gone(pid)


async def test_a_command_that_cannot_be_run_is_an_error_value(refunds, monkeypatch):
    """No bash, and a command that no system takes, are errors for the model to read."""
    assert "error" in await bash(refunds, "echo a\0b")
    monkeypatch.setenv("PATH", str(refunds.path))
    assert "error" in await bash(refunds, "true")


async def test_a_signal_is_a_negative_exit_code(refunds):
    """A shell that a signal ended says by which."""
    assert (await bash(refunds, "kill -TERM $$"))["exitCode"] == -signal.SIGTERM


async def test_no_pipe_is_left_open(refunds):
    """Commands that end, fail to start, and run out of time close what was opened for them."""
    await bash(refunds, "true")
    before = len(os.listdir("/proc/self/fd"))
    for command in ("true", "sleep 600", "echo a\0b"):
        await bash(refunds, command, bash_timeout=0.2)
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before


def children() -> str:
    """The processes that this thread started."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


async def gone(pid: int) -> None:
    """Wait until the system says that a process is dead, whoever started it."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, died = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process, died.set)
    try:
        await died.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
