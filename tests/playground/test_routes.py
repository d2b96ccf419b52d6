"""The page's routes: its files, its headers, what it is told of the agents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import chatrt
from chatrt import ChatAgent, create_app
from chatrt.playground import STATIC, action_types, routes

FILES = sorted(path.name for path in STATIC.iterdir())


class Undo(BaseModel):
    type: Literal["undo"]


class Rename(BaseModel):
    type: Literal["rename"]
    title: str


@pytest.fixture
async def page(serve):
    agent = ChatAgent("helper", run=lambda turn: "hi", action=Undo | Rename)
    return await serve(create_app(agent, store="memory://", routes=routes(title="Test", suggestions=["Hello"])))


async def test_the_page_is_at_the_root(page):
    """GET / gives the page, which names only files that are there."""
    response = await page.get("/")
    named = re.findall(r'(?:src|href)="/playground/([\w.]+)"', response.text)

    assert response.headers["content-type"].startswith("text/html")
    assert set(named) <= set(FILES)
    assert "app.js" in named


@pytest.mark.parametrize("name", FILES)
async def test_files_come_with_a_policy(page, name: str):
    """Each file has its media type, and a policy that allows nothing inline and nothing from elsewhere."""
    response = await page.get(f"/playground/{name}")
    policy = response.headers["content-security-policy"]

    assert response.status_code == 200
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", ["none.js", "__init__.py", "..%2f__init__.py", "%2e%2e", "."])
async def test_nothing_else_is_served(page, name: str):
    """A name that is no file of the page is 404, also one that climbs."""
    response = await page.get(f"/playground/{name}")

    assert response.status_code == 404


async def test_the_page_is_told_of_the_agents(page):
    """It learns the title, the suggestions, and for each agent the actions it takes."""
    told = (await page.get("/playground/config.json")).json()

    assert told == {
        "title": "Test",
        "suggestions": ["Hello"],
        "agents": [{"id": "helper", "actions": ["rename", "undo"]}],
    }


@pytest.mark.parametrize(
    ("action", "types"), [(None, []), (Undo, ["undo"]), (Undo | Rename, ["rename", "undo"]), (dict, [])]
)
def test_action_types(action, types: list[str]):
    """The `type` fields of an agent's actions, when their schema tells."""
    assert sorted(action_types(ChatAgent("a", action=action))) == types


def test_scripts_never_parse_html():
    """What a model writes becomes text: no script assigns HTML or evaluates anything."""
    scripts = "".join((STATIC / name).read_text() for name in FILES if name.endswith(".js"))

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", scripts)


def test_the_page_ships_in_the_package():
    """The files are inside the package, where the wheel takes them from."""
    assert Path(chatrt.__file__).parent in STATIC.parents
    assert {"index.html", "app.js", "style.css"} <= set(FILES)
