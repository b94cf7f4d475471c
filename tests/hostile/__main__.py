"""`python tests/hostile --requests 1000000 --seed 1`: mutated requests and answers against a running proxy, and a verdict."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest has it: the tests' own packages stand there

from hostile.command import main

sys.exit(main())
