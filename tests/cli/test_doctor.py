"""`chatrt doctor` on stores, configurations and servers that are well, and on ones that are not."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chatrt.cli import main
from chatrt.cli.checkup import check_configuration, check_server, check_store
from chatrt.cli.checkup.machine import check_machine, numbers
from chatrt.cli.checkup.store import find_file_system
from chatrt.runtime import SessionManager
from chatrt.server import create_app
from chatrt.stores import NewRecord, SessionKey, SQLiteStore
from chatrt.stores.postgres import PostgresStore, migrate
from chatrt.stores.postgres.migrations import VERSION
from tests.postgres import PostgresServer
from tests.server.kit import KEY, Gates, make_agent

GOOD_KEY = "Zx8-qPw2_LmN0vBc7RtY5uIo3AsDfGhJkQ9"


async def look_at(url: str) -> dict[str, Any]:
    return {finding.check: finding async for finding in check_store(url)}


async def probe(url: str, token: str | None = None, idle: float = 0.0) -> dict[str, Any]:
    return {finding.check: finding async for finding in check_server(url, token, idle=idle)}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A store with a session, closed."""
    store = SQLiteStore(tmp_path / "chat.db")
    await store.open()
    await store.create_session(SessionKey("", "c"), agent="a", metadata={}, client_data=None, at=1.0)
    await store.close()
    return tmp_path / "chat.db"


# --- the store


async def test_a_store_that_is_well(file: Path):
    """Nothing is wrong with a store as it is made."""
    found = await look_at(f"sqlite:///{file}")
    assert {finding.level for finding in found.values()} <= {"ok"}
    assert found["store-holder"].text == "nobody serves it now"


async def test_looking_makes_nothing(tmp_path: Path):
    """A store that is not there is still not there afterwards."""
    assert (await look_at(f"sqlite:///{tmp_path}/none.db"))["store"].level == "note"
    assert list(tmp_path.iterdir()) == []


async def test_who_serves_it_is_told(file: Path):
    """A store that is served is looked at all the same, and the process is named."""
    store = SQLiteStore(file)
    await store.open()
    found = await look_at(f"sqlite:///{file}")
    await store.close()
    assert found["store-holder"].text == f"process {os.getpid()} serves it"
    assert found["store-integrity"].level == "ok"


async def test_a_damaged_file_is_a_problem(file: Path):
    """Bytes that were flipped are found, and the fix is a backup."""
    data = bytearray(file.read_bytes())
    data[4096 : 4096 + 2048] = bytes(2048)
    file.write_bytes(data)
    found = await look_at(f"sqlite:///{file}")
    assert found["store-integrity"].level == "problem"
    assert "restore" in found["store-integrity"].fix


async def test_a_file_that_others_may_read_is_a_warning(file: Path):
    """Chats are private, and so is the file."""
    file.chmod(0o644)
    assert (await look_at(f"sqlite:///{file}"))["store-mode"].level == "warning"


async def test_a_file_of_a_newer_chatrt_is_a_problem(file: Path):
    """It is said before a server refuses to start."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert (await look_at(f"sqlite:///{file}"))["store-version"].level == "problem"


async def test_another_programs_file_is_a_problem(tmp_path: Path):
    """A database is not chatrt's because it is one."""
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert (await look_at(f"sqlite:///{tmp_path}/other.db"))["store-version"].level == "problem"


async def test_records_of_the_future_are_a_warning(file: Path):
    """When the clock went back, somebody should know."""
    connection = sqlite3.connect(file)
    connection.execute("UPDATE heads SET updated_at = 9e9")
    connection.commit()
    connection.close()
    assert (await look_at(f"sqlite:///{file}"))["clock"].level == "warning"


def test_the_innermost_mount_counts(tmp_path: Path):
    """A folder is on the file system that is mounted nearest to it."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} nfs4 rw 0 0\nc {tmp_path}x tmpfs rw 0 0\n")
    assert find_file_system(tmp_path, mounts) == "nfs4"


async def test_a_postgresql_store_is_looked_at(postgres_url: str):
    """Tables that are missing are a note; a server that loses what it acknowledged is a problem."""
    found = await look_at(postgres_url)
    assert found["store"].level == "ok"
    assert found["store-version"].level == "note"
    assert found["store-durability"].level in ("ok", "problem")


async def test_tables_that_are_served_are_looked_at(postgres: Any):
    """Nothing is wrong with a database that workers use: its tables are known, notifications arrive, no work waits."""
    url = postgres.create_database("doctor_well")
    async with SessionManager(make_agent(Gates()), url) as sessions:
        await sessions.start_session("kit", "c")
        found = await look_at(url)
    checks = ("store-version", "store-durability", "store-notices", "store-work")
    assert {check: found[check].level for check in checks} == dict.fromkeys(checks, "ok")


async def test_migrations_that_are_pending_are_a_problem(postgres: Any):
    """This version does not run on the tables of the one before it, and says how to get on."""
    url = postgres.create_database("doctor_old")
    await migrate(url, to=VERSION - 1)
    found = await look_at(url)
    assert (found["store-version"].level, found["store-version"].fix) == ("problem", "chatrt migrate")


async def test_tables_of_a_newer_chatrt_are_a_problem(postgres: Any):
    """Nothing is served on tables that this version does not know."""
    url = postgres.create_database("doctor_new")
    await migrate(url)
    await execute(url, "UPDATE chatrt.schema_version SET version = 99, serves = 99")
    assert (await look_at(url))["store-version"].level == "problem"


async def test_work_that_nobody_does_is_a_warning(postgres: Any):
    """Sessions that wait for an agent nobody serves are told, with how long they wait."""
    url = postgres.create_database("doctor_work")
    store = PostgresStore(url)
    await store.open()
    await store.create_session(SessionKey("", "c"), agent="retired", metadata={}, client_data=None, at=1.0)
    await store.append_in(SessionKey("", "c"), NewRecord("message", b"{}"), part_id=None, at=time.time() - 300)
    await store.close()
    found = await look_at(url)
    assert found["store-work"].level == "warning"
    assert "1 sessions wait" in found["store-work"].text


async def test_notifications_that_do_not_arrive_are_a_problem(postgres: Any):
    """Who listens at another place than the workers write to, as a pooler makes it, hears nothing."""
    url, elsewhere = postgres.create_database("doctor_told"), postgres.create_database("doctor_deaf")
    found = await look_at(f"{url}?listen_url={quote(elsewhere, safe='')}")
    assert found["store-notices"].level == "problem"
    assert "listen_url" in found["store-notices"].fix


async def test_settings_that_lose_what_was_acknowledged_are_a_problem(postgres: Any):
    """A database whose commits are not durable is told apart from one that asks chatrt to see to it."""
    url = postgres.create_database("doctor_careless")
    await execute(url, "ALTER DATABASE doctor_careless SET synchronous_commit = off")
    found = await look_at(url)
    assert found["store-durability"].level == "ok"
    careless = PostgresServer()
    try:
        careless.settings["fsync"] = "off"
        careless.start()
        assert (await look_at(careless.url()))["store-durability"].level == "problem"
    finally:
        careless.remove()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


async def test_a_server_that_is_not_there_is_a_problem():
    """One sentence, without the password."""
    found = await look_at("postgresql://ada:secret-word@127.0.0.1:1/none")
    assert found["store"].level == "problem"
    assert "secret-word" not in found["store"].text


# --- the configuration


@pytest.mark.parametrize(
    ("key", "level"), [(GOOD_KEY, "ok"), ("short", "problem"), ("a" * 64, "problem"), (GOOD_KEY[:20], "warning")]
)
def test_weak_keys_are_told_and_never_shown(key: str, level: str):
    """A key that can be guessed is a problem; no finding holds any of it."""
    found = {finding.check: finding for finding in check_configuration(None, key)}
    assert found["secret-key"].level == level
    assert all(key not in finding.text + finding.fix for finding in found.values())


@pytest.mark.parametrize(("host", "level"), [("127.0.0.1", "warning"), ("0.0.0.0", "problem")])
def test_no_key(host: str, level: str, monkeypatch: pytest.MonkeyPatch):
    """Without a key a loopback server is a warning, because of proxies; every other one does not start."""
    monkeypatch.delenv("CHATRT_SECRET_KEY", raising=False)
    monkeypatch.setenv("CHATRT_HOST", host)
    assert {finding.check: finding.level for finding in check_configuration(None, None)}["exposure"] == level


def test_a_model_without_its_key_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    """The variable that is missing is named; one that is there is not shown."""
    monkeypatch.setenv("CHATRT_MODEL", "anthropic/claude-sonnet-4-5")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    found = {finding.check: finding for finding in check_configuration(None, GOOD_KEY)}
    assert found["model"].level == "problem"
    assert "ANTHROPIC_API_KEY" in found["model"].text
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted-key")
    found = {finding.check: finding for finding in check_configuration(None, GOOD_KEY)}
    assert found["model"].level == "ok"
    assert "planted-key" not in str(found)


@pytest.mark.parametrize(
    ("name", "version", "word"),
    [
        ("litellm", "1.82.7", "credential stealer"),
        ("litellm", "1.83.6", "hole"),
        ("asyncpg", "0.31.0", "not supported"),
    ],
)
def test_packages_that_nobody_should_run_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, word: str
):
    """Versions with a known fault, and ones that are too old, are named with what to do."""
    metadata = tmp_path / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = [one for one in check_machine() if one.check == "packages" and one.level == "problem"]
    assert found.text.startswith(f"{name} {version}: ")
    assert word in found.text
    assert found.fix.startswith("pip install")


def test_versions_are_compared_by_their_numbers():
    """1.83.10 is newer than 1.83.7."""
    assert numbers("1.83.10rc1") > numbers("1.83.7")


# --- a server, and what stands before it


@pytest.fixture
async def chatrt_url(serve: Any) -> str:
    app = create_app(make_agent(Gates()), store="memory://", secret_key=KEY, heartbeat=0.2)
    return str((await serve(app)).base_url)


class Proxy:
    """Hands requests on, and spoils them as proxies do."""

    def __init__(
        self, url: str, *, drop: tuple[str, ...] = (), holds_back: bool = False, cuts_after: float = 0
    ) -> None:
        self.url, self.drop, self.holds_back, self.cuts_after = url, drop, holds_back, cuts_after
        self.app = Starlette(routes=[Route("/{path:path}", self.hand_on)])

    async def hand_on(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in (*self.drop, "host")}
        headers["x-forwarded-for"] = "192.0.2.1"
        http = httpx.AsyncClient(base_url=self.url, timeout=30)
        answer = await http.send(
            http.build_request("GET", request.url.path, params=request.query_params, headers=headers), stream=True
        )
        kept = {"content-type": answer.headers["content-type"]}
        if self.holds_back:
            body = await answer.aread()
            await http.aclose()
            return Response(body, answer.status_code, kept)

        async def pieces() -> Any:
            try:
                async with asyncio.timeout(self.cuts_after or None):
                    async for piece in answer.aiter_raw():
                        yield piece
            except TimeoutError:
                pass
            finally:
                await answer.aclose()
                await http.aclose()

        return StreamingResponse(pieces(), answer.status_code, kept)


async def test_a_server_that_is_well(chatrt_url: str):
    """Events come as they are sent, headers arrive, and a quiet stream lives."""
    found = await probe(chatrt_url, KEY, idle=0.7)
    assert {check for check, finding in found.items() if finding.level == "problem"} == set()
    assert {"buffering", "last-event-id", "idle", "http-version"} <= set(found)
    assert found["idle"].level == "ok"


async def test_a_proxy_that_holds_back(chatrt_url: str, serve: Any):
    """Events that come all at once are a problem, whatever they say."""
    http = await serve(Proxy(chatrt_url, holds_back=True).app)
    found = await probe(str(http.base_url), KEY)
    assert found["buffering"].level == "problem"
    assert "proxy_buffering off" in found["buffering"].fix


@pytest.mark.parametrize(("header", "check"), [("last-event-id", "last-event-id"), ("authorization", "authorization")])
async def test_a_proxy_that_takes_headers_away(chatrt_url: str, serve: Any, header: str, check: str):
    """A header that does not arrive is named."""
    http = await serve(Proxy(chatrt_url, drop=(header,)).app)
    assert (await probe(str(http.base_url), KEY))[check].level == "problem"


async def test_a_proxy_that_ends_quiet_streams(chatrt_url: str, serve: Any):
    """A stream that is cut while it is quiet is a problem of its own."""
    http = await serve(Proxy(chatrt_url, cuts_after=2.5).app)
    found = await probe(str(http.base_url), KEY, idle=10)
    assert found["buffering"].level == "ok"
    assert found["idle"].level == "problem"


async def test_a_proxy_before_an_open_server(serve: Any):
    """Behind a proxy everybody is on this machine: a server without a key is then open to all."""
    inner = await serve(create_app(make_agent(Gates()), store="memory://"))
    http = await serve(Proxy(str(inner.base_url)).app)
    assert (await probe(str(http.base_url)))["authorization"].level == "problem"


async def test_a_wrong_key(chatrt_url: str):
    """A key that is not the server's, and one that is missing, are told apart."""
    assert "another" in (await probe(chatrt_url, "x" * 32))["authorization"].text
    assert "wants" in (await probe(chatrt_url))["authorization"].text


async def test_nobody_there():
    """A server that does not answer is one finding."""
    assert (await probe("http://127.0.0.1:1"))["server"].level == "problem"


# --- the command


def test_the_report(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Warnings are no failure; problems are, and each finding of that kind says what to do."""
    monkeypatch.setenv("CHATRT_SECRET_KEY", GOOD_KEY)
    assert main(["doctor", "--store", f"sqlite:///{file}"]) == 0
    assert "0 problems" in capsys.readouterr().out
    monkeypatch.setenv("CHATRT_SECRET_KEY", "short")
    assert main(["doctor", "--store", f"sqlite:///{file}", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert all(one.get("fix") for one in report["findings"] if one["level"] == "problem")


def test_a_target_that_cannot_be_imported(file: Path, capsys: pytest.CaptureFixture[str]):
    """The target is looked at too."""
    assert main(["doctor", "nowhere.to_be_found:agent", "--store", f"sqlite:///{file}"]) == 1
    assert "PROBLEM  target" in capsys.readouterr().out
