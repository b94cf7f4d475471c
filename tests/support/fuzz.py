"""How many generated examples a test looks at: a few in the usual run, many where TRIOPROXY_FUZZ multiplies them."""

from __future__ import annotations

import os

from hypothesis import settings

FACTOR = int(os.environ.get("TRIOPROXY_FUZZ", "1"))


def examples(count, **more):
    """Hypothesis settings for `count` examples, times the factor; without a deadline, as machines are noisy."""
    return settings(max_examples=count * FACTOR, deadline=None, **more)
