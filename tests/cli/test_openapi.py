"""`chatrt openapi`: the document of the HTTP interface, on standard output or in a file."""

from __future__ import annotations

import json


async def test_the_document_of_a_target(chatrt):
    """The agents of the target are in it."""
    done = await chatrt.run("openapi", "agent_file.py")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["components"]["schemas"]["AgentId"]["enum"] == ["hello"]


async def test_the_document_of_the_interface_alone(chatrt):
    """Without a target it names no agents."""
    document = json.loads((await chatrt.run("openapi")).out)
    assert document["x-chatrt-agents"] == {}
    assert "/v1/sessions" in document["paths"]


async def test_a_file(chatrt):
    """`--out` writes it there, the same bytes for the same agents."""
    for name in ("one.json", "two.json"):
        done = await chatrt.run("openapi", "agent_file.py", "--out", name)
        assert (done.code, done.out) == (0, "")
    assert (chatrt.folder / "one.json").read_bytes() == (chatrt.folder / "two.json").read_bytes()


async def test_a_target_that_is_not_there(chatrt):
    """Exit code 2, and one sentence."""
    done = await chatrt.run("openapi", "nowhere.py")
    assert (done.code, done.err) == (2, "chatrt: there is no file nowhere.py\n")
