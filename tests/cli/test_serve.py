"""`chatrt serve` and `chatrt dev` as processes."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress

import httpx
import pytest

from chatrt.client import AgentChat
from chatrt.errors import SessionNotFoundError
from tests.cli.conftest import free_port
from tests.models.provider import openai_wire
from tests.models.provider.server import ProviderServer

KEY = "k" * 32
PLAYBOOK = "chatrt.testing.playbook:app"


async def end(process, sig=signal.SIGTERM) -> tuple[int, float]:
    """Send a signal; return the exit code and the seconds it took."""
    started = time.monotonic()
    process.send_signal(sig)
    await process.communicate()
    return process.returncode, time.monotonic() - started


async def test_an_agent_in_a_file_is_served(chatrt):
    """A file with one agent needs nothing else; the chat is in a SQLite file beside it."""
    process, url = await chatrt.serve("agent_file.py")
    async with AgentChat("hello", base_url=url) as chat:
        assert await chat.send_message("hi").text() == "hello from the file"
    assert (await end(process))[0] == 0
    assert (chatrt.folder / "chatrt.db").exists()


async def test_the_playbook_is_served(chatrt):
    """`chatrt serve chatrt.testing.playbook:app` serves the playbook."""
    _, url = await chatrt.serve(PLAYBOOK, "--store", "memory://")
    async with AgentChat("playbook", base_url=url) as chat:
        assert await chat.send_message("count 3").text() == "w0 w1 w2 "


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(chatrt, sig):
    """SIGTERM and Ctrl-C end open streams and the process, with exit code 0, within seconds."""
    process, url = await chatrt.serve(PLAYBOOK, "--grace", "0.5")
    async with AgentChat("playbook", base_url=url, timeout=0.2) as chat, httpx.AsyncClient(timeout=20) as http:
        await chat.send_message("sleep")
        async with http.stream("GET", f"{url}/v1/sessions/{chat.id}/out") as response:
            data = response.aiter_bytes()
            received = await anext(data)
            ending = asyncio.create_task(end(process, sig))
            # The stream ends with a whole record and no error.
            received += b"".join([piece async for piece in data])
        code, took = await ending
    assert received.endswith(b"\n\n")
    assert code == 0
    assert took < 8


async def test_a_restart_goes_on(chatrt):
    """What was acknowledged before the end is there after it, the interrupted turn closed."""
    process, url = await chatrt.serve(PLAYBOOK, "--grace", "0.2")
    async with AgentChat("playbook", id="c1", base_url=url) as chat:
        await chat.send_message("echo kept").text()
        stream = await chat.send_message("sleep")
        async for chunk in stream:
            if chunk["type"] == "text-delta":
                break
        await stream.aclose()
    assert (await end(process))[0] == 0
    _, url = await chatrt.serve(PLAYBOOK)
    async with AgentChat("playbook", id="c1", base_url=url) as chat:
        assert await chat.send_message("history").text() in {"4", "5"}


async def test_a_running_turn_may_end(chatrt):
    """A turn that ends within the grace is not cut."""
    process, url = await chatrt.serve(PLAYBOOK, "--grace", "10")
    async with AgentChat("playbook", id="c1", base_url=url) as chat:
        await chat.send_message("count 50")
    assert (await end(process))[0] == 0
    _, url = await chatrt.serve(PLAYBOOK)
    async with AgentChat("playbook", id="c1", base_url=url) as chat:
        assert (await chat.messages())[-1]["parts"][-1]["text"].endswith("w49 ")


async def test_flags_win_over_the_environment(chatrt):
    """A flag wins over the variable, which wins over the default."""
    process, _ = await chatrt.serve(
        "agent_file.py", "--store", "sqlite:///flag.db", CHATRT_STORE="sqlite:///env.db", CHATRT_PORT="1"
    )
    await end(process)
    assert [path.name for path in chatrt.folder.glob("*.db")] == ["flag.db"]


async def test_the_environment_is_read(chatrt):
    """The store of the environment is used when no flag says otherwise."""
    process, _ = await chatrt.serve("agent_file.py", CHATRT_STORE="sqlite:///env.db")
    await end(process)
    assert [path.name for path in chatrt.folder.glob("*.db")] == ["env.db"]


@pytest.mark.parametrize("target", ["agent_file.py", PLAYBOOK])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])
async def test_beyond_this_machine_only_with_a_key(chatrt, target, host):
    """A host that others can reach is refused without a secret key."""
    done = await chatrt.run("serve", target, "--host", host, "--store", "memory://")
    assert done.code == 2
    assert "CHATRT_SECRET_KEY" in done.err
    assert "Traceback" not in done.err


async def test_a_key_opens_it(chatrt):
    """With a secret key any host will do, and the key is asked for."""
    _, url = await chatrt.serve("agent_file.py", "--host", "0.0.0.0", "--store", "memory://", CHATRT_SECRET_KEY=KEY)
    async with AgentChat("hello", base_url=url, token=KEY) as chat:
        assert await chat.send_message("hi").text() == "hello from the file"
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/v1/sessions")).status_code == 401


async def test_a_served_file_is_not_served_twice(chatrt):
    """A second server on the same SQLite file refuses, in one sentence."""
    await chatrt.serve("agent_file.py")
    done = await chatrt.run("serve", "agent_file.py", "--port", "0")
    assert done.code == 1
    assert "store-locked" in done.err
    assert "Traceback" not in done.err


async def test_a_taken_port(chatrt):
    """A port that is taken is said in one sentence."""
    _, url = await chatrt.serve("agent_file.py", "--store", "memory://")
    done = await chatrt.run("serve", "agent_file.py", "--store", "memory://", "--port", url.rpartition(":")[2])
    assert done.code == 1
    assert "address already in use" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing:here"],
        ["agent_file.py:x"],
        ["agent_file.py", "--store", "what://ever"],
        ["agent_file.py", "--port", "70000"],
    ],
    ids=["module", "attribute", "store", "port"],
)
async def test_mistakes_have_exit_code_2(chatrt, arguments):
    """A wrong target or option is one sentence and exit code 2."""
    done = await chatrt.run("serve", *arguments)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith("chatrt: ")


async def test_dev_starts_again_when_a_file_changes(chatrt):
    """`chatrt dev` serves what the file says after it was changed, with the chat page at /."""
    process, url = await chatrt.serve("agent_file.py", command="dev", CHATRT_STORE="memory://")
    async with httpx.AsyncClient() as http:
        assert "text/html" in (await http.get(url)).headers["content-type"]
    source = chatrt.folder / "agent_file.py"
    source.write_text(source.read_text().replace("hello from the file", "changed"))
    said = ""
    while said != "changed":
        source.touch()  # a watcher that was slow to begin has not seen the first change
        async with AgentChat("hello", base_url=url) as chat:
            with suppress(SessionNotFoundError):  # it was begun in the memory of the server before
                said = await chat.send_message("hi").text()
    assert (await end(process))[0] == 0


async def test_dev_refuses_other_machines(chatrt):
    """`chatrt dev` stays on this machine unless there is a secret key."""
    done = await chatrt.run("dev", "agent_file.py", "--host", "0.0.0.0")
    assert done.code == 2
    assert "CHATRT_SECRET_KEY" in done.err


CALLING = """
from chatrt import ChatAgent, LiteLLMModel, stream_text

model = LiteLLMModel("openai/gpt-4o-mini", api_base="{url}", api_key="k")
calling = ChatAgent("calling", run=lambda turn: stream_text(model, turn.messages))
"""


async def test_a_model_call_is_no_line_in_the_log(chatrt):
    """litellm says a line with each call, on two ways at once; a server's log at its usual level has none of it."""
    provider = ProviderServer().start()
    try:
        provider.play(openai_wire.text("hi"), openai_wire.finish(), openai_wire.DONE)
        (chatrt.folder / "calling.py").write_text(CALLING.format(url=provider.url))
        process, url = await chatrt.serve("calling.py", PYTHONWARNINGS="ignore")
        async with AgentChat("calling", base_url=url) as chat:
            assert await chat.send_message("hi").text() == "hi"
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
    finally:
        provider.close()
    assert b"LiteLLM" not in out + err


@pytest.mark.parametrize("role", ["web", "worker"])
async def test_a_file_has_one_process(chatrt, role):
    """A role needs a store that processes share; the reason is said in one sentence."""
    done = await chatrt.run("serve", "agent_file.py", "--role", role)
    assert done.code == 2
    assert "several processes share" in done.err
    assert "Traceback" not in done.err


async def test_a_bound_is_a_number(chatrt):
    """What is no number of sessions is refused, from the environment as well."""
    assert (await chatrt.run("serve", "agent_file.py", "--max-runs", "0")).code == 2
    assert "CHATRT_MAX_RUNS" in (await chatrt.run("serve", "agent_file.py", CHATRT_MAX_RUNS="many")).err


async def test_figures_on_a_port_of_their_own(chatrt):
    """With `--metrics-port` whoever reaches that port sees the figures, and nothing else."""
    port = free_port()
    process, url = await chatrt.serve("agent_file.py", "--metrics-port", str(port), CHATRT_SECRET_KEY="k" * 32)
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/metrics")).status_code == 401
        assert "chatrt_active_runs 0.0" in (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        assert (await http.get(f"http://127.0.0.1:{port}/v1/sessions")).status_code == 404
    process.terminate()
    assert await process.wait() == 0


@pytest.mark.parametrize("option", ["--delete-closed-after", "--delete-idle-after", "--delete-records-after"])
async def test_times_of_retention(chatrt, option):
    """Each of them is taken, and one that is no time is refused before anything is served."""
    done = await chatrt.run("serve", "agent_file.py", option, "-1")
    assert done.code == 2
    assert "is not negative" in done.err
