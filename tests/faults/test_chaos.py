"""A small chaos on each store: what `make chaos` does for hours."""

from __future__ import annotations

import os

import pytest

from tests.faults.chaos import Plan, run_chaos
from tests.served import ROOT

SEED = int(os.environ.get("CHATRT_SEED") or 20_261)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_nothing_promised_is_broken_under_fire(store):
    """Under kills, a freeze and a restart of the database every promise holds, and nearly everything is answered."""
    plan = Plan(
        store=store,
        seed=SEED,
        kills=12,
        chats=12,
        readers=2,
        pace=0.25,
        pauses=(0.1, 0.6),
        freezes=(0.5, 2.5),
        restarts=("immediate",),
        share=0.6,  # of few inputs, on a machine that may be busy
        slack=15.0,
    )
    print(f"CHATRT_SEED={SEED}")
    report = await run_chaos(plan, ROOT / "artefacts")
    print(report)
    assert report.good, str(report)
