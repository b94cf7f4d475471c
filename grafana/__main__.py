"""`python -m grafana`: writes the dashboard anew."""

from __future__ import annotations

from grafana.dashboard import PATH, text

PATH.write_text(text())
