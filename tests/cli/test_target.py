"""What a target names, and how it is said that it names nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chatrt.cli.target import load, locate
from chatrt.errors import UsageError

ONE = 'from chatrt.agent import ChatAgent\nonly = ChatAgent("one", run=lambda turn: "1")\nalias = only\n'
TWO = ONE + 'other = ChatAgent("two", run=lambda turn: "2")\nboth = [only, other]\n'
APP = TWO + 'from chatrt.server import create_app\napp = create_app(both, store="memory://")\n'


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Write a module under a name of its own into the working directory and return that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"target_{abs(hash(request.node.nodeid))}"

    def write(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


@pytest.mark.parametrize("form", ["{}:only", "{}.py:only", "./{}.py:only", "{}.py", "{}"])
def test_ways_to_name_an_agent(write, form):
    """A module or a file, with the attribute or with the only agent there is."""
    assert [agent.id for agent in load(form.format(write(ONE))).agents] == ["one"]


def test_a_list_of_agents(write):
    """A list of agents is a target."""
    assert [agent.id for agent in load(f"{write(TWO)}:both").agents] == ["one", "two"]


def test_an_app_is_preferred(write):
    """Where there is one app, it is meant, and its agents are known."""
    target = load(write(APP))
    assert target.app is not None
    assert [agent.id for agent in target.agents] == ["one", "two"]


def test_any_asgi_app(write):
    """Any callable is taken for an ASGI application."""
    target = load(f"{write('async def app(scope, receive, send): ...')}:app")
    assert (callable(target.app), target.agents) == (True, [])


@pytest.mark.parametrize(
    ("source", "form", "says"),
    [
        pytest.param(TWO, "{}", "several agents", id="several agents"),
        pytest.param("x = 1", "{}", "neither an agent nor an app", id="none"),
        pytest.param(ONE, "{}:nothing", "it has only", id="unknown attribute"),
        pytest.param("x = 1", "{}:x", "is a int", id="no agent"),
        pytest.param("x = []", "{}:x", "is a list", id="empty list"),
        pytest.param("x = int", "{}:x", "is a type", id="a class"),
        pytest.param("1/0", "{}:x", "ZeroDivisionError", id="raises"),
        pytest.param("1/0", "{}:x", ".py:1", id="raises, with its place"),
        pytest.param("def", "{}:x", "SyntaxError", id="syntax"),
        pytest.param("import nowhere_at_all", "{}:x", "nowhere_at_all", id="missing import"),
        pytest.param("", "{}_not.py", "there is no file", id="missing file"),
        pytest.param("", "{}_not:x", "there is no module", id="missing module"),
        pytest.param("", "a b", "is no target", id="nonsense"),
        pytest.param("", "{}:1x", "is no target", id="nonsense attribute"),
    ],
)
def test_mistakes_are_explained(write, source, form, says):
    """Every mistake is one sentence that says what is wrong."""
    with pytest.raises(UsageError, match=says) as caught:
        load(form.format(write(source)))
    assert "\n" not in str(caught.value)


def test_the_folder_of_a_file(write, tmp_path):
    """A file's folder is where its imports are looked for, and what `dev` watches."""
    assert locate(f"{write(ONE)}.py").folder == tmp_path
