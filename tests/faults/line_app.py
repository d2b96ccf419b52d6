"""What the tests of lines and machines serve: the playbook, with a heartbeat that a test can wait for."""

from __future__ import annotations

from chatrt.server import create_app
from chatrt.testing.playbook import playbook

HEARTBEAT = 0.4

app = create_app(playbook, heartbeat=HEARTBEAT)
