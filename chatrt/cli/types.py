"""`chatrt types`: TypeScript declarations of what agents take and give."""

from __future__ import annotations

import argparse

from chatrt.agent_types import declare_agents
from chatrt.cli.written import load_agents, write_out


def run(options: argparse.Namespace) -> int:
    """Write the declarations.

    Raises:
        UsageError: If the target has no agents, or the file cannot be written.
    """
    write_out(declare_agents(load_agents(options.target), ai_sdk=options.ai_sdk), options.out)
    return 0
