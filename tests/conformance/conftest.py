"""Feeds the recorded behaviour of the real AI SDK (ai 7.0.173) to the conformance tests, one test for each case.

A test module names its set, or sets, in `VECTORS`; each of its tests that takes `case` runs once for every line. A module
that cannot use all of them says which, and why, in `NOT_APPLICABLE`: prefixes of names, with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parent / "vectors"


def load(name: str) -> list[dict]:
    with (VECTORS / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        names = metafunc.module.VECTORS
        sets = (names,) if isinstance(names, str) else names
        left_out = tuple(getattr(metafunc.module, "NOT_APPLICABLE", ()))
        cases = [case for name in sets for case in load(name) if not case["name"].startswith(left_out)]
        metafunc.parametrize("case", cases, ids=[case["name"] for case in cases])
