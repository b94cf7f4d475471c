"""`python tests/beside`: the corpus through trioproxy, nginx, HAProxy and Caddy; rewrites the tables in the docs.

Exit status 1 where trioproxy forwards or passes on what it should refuse. What is not installed is left out, and said so.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # bench, whose proxies and settings these are
sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own packages

from beside.command import main

sys.exit(main())
