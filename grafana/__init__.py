"""Makes the Grafana dashboard from code: `python -m grafana` writes grafana/dashboards/trioproxy.json.

`queries` writes PromQL from the table of metrics, `panels` draws, one module per row says what an operator sees, and
`dashboard` puts it together. The rules of Prometheus are written by hand, in grafana/prometheus/.
"""
