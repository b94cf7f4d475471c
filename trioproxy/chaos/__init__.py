"""Faults on purpose, under load, and what they cost: `trioproxy chaos`.

A run has upstreams behind hops, a proxy in front of the hops, and clients in front of the proxy. The map, from the
outside in:

    runner              one run: everything started, load and timeline side by side, everything ended
    report              what is shown and written of it
    expectations        what was asked for, what was measured, whether it holds
    measures            numbers of what clients saw
    proxies, servers    how the proxy, and each upstream, is started, commanded and ended
    load                clients that count what they send and get
    hop                 a connection's way to an upstream, where faults sit
    timeline            which fault begins and ends when
    scenario            the file
    faults              everything that can go wrong, one small class each
    parts, trail        what passes a hop; whose it is
"""
