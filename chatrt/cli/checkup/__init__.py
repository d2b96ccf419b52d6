"""What `chatrt doctor` looks at: the machine, the configuration, the store, and a server from outside."""

from __future__ import annotations

from chatrt.cli.checkup.configuration import check_configuration
from chatrt.cli.checkup.finding import Finding, Level
from chatrt.cli.checkup.machine import check_machine
from chatrt.cli.checkup.server import check_server
from chatrt.cli.checkup.store import check_store

__all__ = ["Finding", "Level", "check_configuration", "check_machine", "check_server", "check_store"]
