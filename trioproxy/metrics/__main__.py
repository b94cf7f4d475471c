"""`python -m trioproxy.metrics` prints the reference page of the metrics, as it should stand in docs/reference."""

import sys

from trioproxy.metrics.reference import reference_page

sys.stdout.write(reference_page())
