"""Faults on purpose, under load, and what they cost: `trioproxy chaos`.

A run has upstreams behind hops, a proxy in front of the hops, and clients in front of the proxy. The map, from the
outside in:

    beside              the same scenario against several proxies
    command             a scenario from its name to its verdicts
    testing             the same for the tests of other projects   (stands, anywhere: how; pytest_plugin: fixtures)
    runner              one run: everything started, load and timeline side by side, everything ended
    report              what is shown and written of it
    expectations        what was asked for, what was measured, whether it holds
    measures            numbers of what clients saw
    proxies, servers    how the proxy, and each upstream, is started, commanded and ended
    peers               nginx, HAProxy and Envoy in the place of trioproxy
    processes           what Linux tells of processes, and lets be done to them
    load                clients that count what they send and get
    hop                 a connection's way to an upstream, where faults sit
    timeline            which fault begins and ends when
    scenario            the file
    faults              everything that can go wrong, one small class each
    parts, trail        what passes a hop; whose it is
"""
