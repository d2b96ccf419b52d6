"""Chaos: people talk to servers that are killed and frozen and whose database is restarted; the oracle judges.

    python -m tests.faults.chaos        a thousand kills on each store, about three quarters of an hour in all

    KILLS=1000  SEED=...  STORE=sqlite|postgres (both)  CHATS=50  READERS=3
    PAUSES=0.3-3 seconds between faults  KEEP=folder for what a failed run leaves (artefacts)

First everything is hurt; then nothing is, and all that was acknowledged has to settle within the lease's time, two
seconds, and what the model takes. A run that hurt nothing or in which little was answered is no success.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.dumps import dump, find_unsettled
from tests.faults.histories import History, read_histories
from tests.faults.oracle import Figures, Oracle
from tests.faults.oracle_log import Violation
from tests.faults.oracle_turns import QUARANTINED
from tests.faults.people import Person, Wire
from tests.postgres import PostgresServer
from tests.served import ROOT, Server

MODEL_SECONDS = 8.0
"""What two waiting turns of the world take at most, at pace 1."""

EXPECTED_FAILURES = {"invalid-message", "forbidden-change", QUARANTINED}
"""A regenerate finds no question, an approval finds its call undone, and three kills in a row look like an input's fault."""

DUMP_SECONDS = 2.0
SUPERVISOR_SECONDS = 0.2
START_SECONDS = 120
"""A start takes one second, and many where the machine has others to serve."""

WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        kills: How many kills; of the other faults there are fewer in proportion, at least one each.
        pauses: Seconds between faults, from and to.
        freezes: Seconds that a process is stopped, from and to.
        restarts: How PostgreSQL is restarted.
        lease_ttl: Seconds.
        share: What part of the inputs has to be settled under fire.
        slack: Seconds that everything may take longer after the last fault, on a machine that does other things.
    """

    store: str
    seed: int
    kills: int
    chats: int = 50
    readers: int = 3
    pace: float = 1.0
    pauses: tuple[float, float] = (0.3, 3.0)
    freezes: tuple[float, float] = (2.0, 6.0)
    restarts: tuple[str, ...] = ("fast", "immediate", "kill -9")
    lease_ttl: float = 2.0
    share: float = 0.8
    slack: float = 0.0

    def faults(self, rng: random.Random) -> list[str]:
        """Return the faults in their order."""
        starting = self.kills // 5
        names = ["kill"] * (self.kills - starting) + ["kill in its start"] * starting
        names += ["freeze"] * max(1, self.kills // 12)
        if self.store == "postgres":
            names += [f"database {how}" for how in self.restarts] * max(1, self.kills // 60)
        rng.shuffle(names)
        return names


@dataclass
class Report:
    """What came of a run.

    Attributes:
        problems: What is wrong, besides violations.
        settled_in: Seconds from the last fault until all was settled.
    """

    plan: Plan
    violations: list[Violation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)
    settled_in: float = 0.0
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not self.violations and not self.problems

    def __str__(self) -> str:
        one, plan = self.figures, self.plan
        faults = ", ".join(f"{count} {name}" for name, count in sorted(one.faults.items()))
        statuses = ", ".join(f"{count} {name}" for name, count in one.statuses.most_common())
        invs = ", ".join(f"{count} of INV-{inv}" for inv, count in Counter(v.inv for v in self.violations).items())
        lines = [
            f"{plan.store}: SEED={plan.seed} KILLS={plan.kills} CHATS={plan.chats} READERS={plan.readers}, {self.seconds:.0f} s",
            f"  faults: {faults}",
            f"  inputs: {one.acked} acked, {one.settled} settled; all settled {self.settled_in:.1f} s after the last fault",
            f"  under fire: {one.acked_under_fire} acked, {one.settled_under_fire} settled ({one.share_under_fire:.1%})",
            f"  turns: {statuses}; {one.model_calls} model calls, {one.tool_calls} tool calls, {one.repeated_calls} repeated, {one.overtaken_calls} overtaken",
            f"  readers: {one.reads} records, {one.gaps} gaps, {one.pages} pages; {one.holes} records that nobody saw",
            f"  violations: {len(self.violations)} {f'({invs})' if invs else ''}",
        ]
        first = {violation.inv: violation for violation in reversed(self.violations)}
        lines += [f"  {violation}" for _, violation in sorted(first.items())]
        lines += [f"  problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


class Run:
    """One run, in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, database: PostgresServer | None) -> None:
        self._plan = plan
        self._folder = folder
        self._database = database
        self._rng = random.Random(plan.seed)
        self._histories = folder / "histories"
        self._history = History(self._histories, "chaos")
        self._oracle = Oracle()
        self._report = Report(plan)
        self._people: list[Person] = []
        self._starting = asyncio.Lock()
        env = {"CHATRT_HISTORIES": str(self._histories), "CHATRT_LEASE_TTL": str(plan.lease_ttl)}
        if database is not None:
            env["CHATRT_STORE"] = database.url()
        self._servers: list[Server] = []
        for number in range(1 if database is None else WORKERS):
            (folder / str(number)).mkdir(parents=True)
            self._servers.append(Server("tests.faults.world:app", folder / str(number), **env))
        self._store = self._servers[0].store

    async def go(self) -> Report:
        """Hurt, heal, judge."""
        began = time.monotonic()
        plan, end = self._plan, asyncio.Event()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=plan.chats)
        try:
            async with httpx.AsyncClient(limits=limits) as http:
                wire = Wire(http, [one.url for one in self._servers], self._history, random.Random(plan.seed + 1))
                await self._start()
                self._people = [
                    Person(wire, f"person-{number}", plan.seed, readers=plan.readers, pace=plan.pace)
                    for number in range(plan.chats)
                ]
                talking = [asyncio.create_task(person.converse(end)) for person in self._people]
                beside = [asyncio.create_task(self._dump()), asyncio.create_task(self._supervise())]
                try:
                    await self._hurt()
                    await self._heal(talking, end)
                finally:
                    for task in (*talking, *beside):
                        task.cancel()
                    await asyncio.wait([*talking, *beside])
                    for task in (*talking, *beside):
                        if not task.cancelled() and task.exception() is not None:
                            self._problem(f"a part of this run broke: {task.exception()!r}")
            await asyncio.to_thread(self._stop)
            await self._judge()
        finally:
            for server in self._servers:
                with suppress(AssertionError, ProcessLookupError):
                    server.kill()
            self._history.close()
        self._report.seconds = time.monotonic() - began
        return self._report

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)

    async def _start(self) -> None:
        for server in self._servers:
            server.spawn()
        for server in self._servers:
            await self._wait_until_ready(server)

    def _stop(self) -> None:
        for server in self._servers:
            code = server.stop()
            if code != 0:
                self._problem(f"a server ended with {code} when it was asked to end")

    # --- hurt

    async def _hurt(self) -> None:
        for name in self._plan.faults(self._rng):
            await asyncio.sleep(self._rng.uniform(*self._plan.pauses))
            self._history.write("fault", "planned", name=name)
            server = self._rng.choice(self._servers)
            if name in ("kill", "freeze"):
                await self._wait_until_ready(server)
            target = server.process_id
            match name.split():
                case ["kill"]:
                    await self._kill(server)
                case ["kill", *_]:
                    await self._kill(server)
                    await asyncio.sleep(self._rng.uniform(0.1, 1.2))
                    await self._kill(server)
                case ["freeze"]:
                    server.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(self._rng.uniform(*self._plan.freezes))
                    server.send_signal(signal.SIGCONT)
                case ["database", *how]:
                    await asyncio.to_thread(self._restart_database, " ".join(how))
            self._history.write("fault", "fired", name=name, target=target)

    async def _kill(self, server: Server) -> None:
        async with self._starting:
            await asyncio.to_thread(server.kill)
            server.spawn()

    async def _supervise(self) -> None:
        """Start again what ended by itself: a server without its database at the start says so and goes."""
        while True:
            await asyncio.sleep(SUPERVISOR_SECONDS)
            async with self._starting:
                for server in self._servers:
                    if not server.running:
                        server.spawn()

    def _restart_database(self, how: str) -> None:
        assert self._database is not None
        if how == "kill -9":
            self._database.kill()
        else:
            self._database.stop(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        self._database.start()

    async def _wait_until_ready(self, server: Server) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            # In a thread and a connection of its own: the people here may keep the loop and the server busy.
            with suppress(httpx.HTTPError):
                if (await asyncio.to_thread(httpx.get, f"{server.url}/readyz", timeout=5)).is_success:
                    return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"a server does not start:\n{server.log()[-3000:]}")

    async def _dump(self) -> None:
        """Look at the chats that are under way now and then: what is trimmed unread is known then all the same."""
        while True:
            await asyncio.sleep(DUMP_SECONDS)
            with suppress(OSError):
                self._oracle.look(await dump(self._store, [person.chat for person in self._people]))

    # --- heal

    async def _heal(self, talking: list[asyncio.Task[None]], end: asyncio.Event) -> None:
        for server in self._servers:
            await self._wait_until_ready(server)
        self._history.write("fault", "calmed")
        calmed = time.monotonic()
        end.set()
        owed = {
            name: chat.in_last for name, chat in (await dump(self._store, await find_unsettled(self._store))).items()
        }
        patience = self._plan.lease_ttl + 2 + MODEL_SECONDS * self._plan.pace + self._plan.slack
        while owed and time.monotonic() < calmed + patience:
            await asyncio.sleep(0.1)
            for name, chat in (await dump(self._store, list(owed))).items():
                if chat.in_cursor >= owed[name]:
                    del owed[name]
        self._report.settled_in = time.monotonic() - calmed
        if owed:
            self._problem(f"not settled {patience:.0f} s after the last fault: {owed}")
        _, late = await asyncio.wait(talking, timeout=patience + 10)
        if late:
            chats = [person.chat for person, task in zip(self._people, talking, strict=True) if task in late]
            self._problem(f"these people still wait for an answer: {chats}")
        quiet = time.monotonic() + patience
        while (open_ones := await find_unsettled(self._store)) and time.monotonic() < quiet:
            await asyncio.sleep(0.1)
        if open_ones:
            self._problem(f"never settled: {open_ones}")

    async def _judge(self) -> None:
        report, oracle = self._report, self._oracle
        for line in read_histories(self._histories):
            oracle.take(line)
        oracle.end(await dump(self._store))
        report.violations, report.figures = oracle.violations, oracle.figures
        figures = report.figures
        if figures.missed:
            self._problem(f"planned faults that did not fire: {dict(figures.missed)}")
        for name in set(self._plan.faults(random.Random(0))) - figures.faults.keys():
            self._problem(f"no {name!r} fired")
        if unexpected := figures.failures.keys() - EXPECTED_FAILURES:
            self._problem(f"turns failed for other reasons than the world gives: {sorted(unexpected)}")
        if figures.share_under_fire < self._plan.share:
            self._problem(f"only {figures.share_under_fire:.1%} of the inputs were settled under fire")
        if figures.statuses["completed"] < figures.acked // 4:
            self._problem("few turns were completed")
        if figures.holes > figures.reads // 20:
            self._problem("too much was trimmed unseen")


@contextmanager
def _scratch(plan: Plan) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"chatrt-chaos-{plan.store}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run_chaos(plan: Plan, keep: Path) -> Report:
    """Do what a plan says, on a store of its own.

    Args:
        plan: The plan.
        keep: Where the histories, logs and, of SQLite, the store of a failed run are put.
    """
    database = await asyncio.to_thread(PostgresServer) if plan.store == "postgres" else None
    with _scratch(plan) as folder:
        try:
            if database is not None:
                await asyncio.to_thread(database.start)
            report = await Run(plan, folder, database).go()
        except BaseException:
            _keep(folder, keep, plan)
            raise
        finally:
            if database is not None:
                await asyncio.to_thread(database.remove)
        if not report.good:
            report.problems.append(f"kept in {_keep(folder, keep, plan)}")
            (_kept(keep, plan) / "report.txt").write_text("\n".join(map(str, report.violations)))
        return report


def _kept(keep: Path, plan: Plan) -> Path:
    return keep / f"chaos-{plan.store}-{plan.seed}"


def _keep(folder: Path, keep: Path, plan: Plan) -> Path:
    place = _kept(keep, plan)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    return place


def main() -> int:
    """Run what the environment says; 0 if all was well."""
    setting = os.environ.get
    seed = int(setting("SEED") or random.SystemRandom().randrange(1_000_000))
    keep = Path(setting("KEEP") or ROOT / "artefacts")
    good = True
    for store in [setting("STORE")] if setting("STORE") else ["sqlite", "postgres"]:
        least, _, most = (setting("PAUSES") or "0.3-3").partition("-")
        plan = Plan(
            store=store,
            pauses=(float(least), float(most)),
            seed=seed,
            kills=int(setting("KILLS") or 1000),
            chats=int(setting("CHATS") or 50),
            readers=int(setting("READERS") or 3),
        )
        print(f"chaos: STORE={store} SEED={seed} KILLS={plan.kills}", flush=True)
        report = asyncio.run(run_chaos(plan, keep))
        print(report, flush=True)
        good = good and report.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
