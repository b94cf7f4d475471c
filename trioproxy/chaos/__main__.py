"""`python -m trioproxy.chaos` prints the reference page of scenarios, as it should stand in docs/reference."""

import sys

from trioproxy.chaos.reference import reference_page

sys.stdout.write(reference_page())
