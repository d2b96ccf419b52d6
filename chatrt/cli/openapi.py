"""`chatrt openapi`: the OpenAPI document of the HTTP interface, with a target's agents."""

from __future__ import annotations

import argparse
import json

from chatrt.cli.written import load_agents, write_out
from chatrt.server.openapi import describe_http


def run(options: argparse.Namespace) -> int:
    """Write the document.

    Raises:
        UsageError: If the target has no agents, or the file cannot be written.
    """
    agents = [] if options.target is None else load_agents(options.target)
    write_out(json.dumps(describe_http(agents), indent=2, ensure_ascii=False) + "\n", options.out)
    return 0
