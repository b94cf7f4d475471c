"""The benchmark: trioproxy beside nginx, HAProxy, Envoy and Caddy, each in one process, before one echo server.

`python -m bench` runs it. How to read its figures is docs/discussion/bench.md; what must not break is the tests'.
"""
