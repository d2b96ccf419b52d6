"""`python -m chatrt.cli`: the command line without an installed script."""

from __future__ import annotations

import sys

from chatrt.cli import main

sys.exit(main())
