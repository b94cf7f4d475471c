"""The row on tunnels and what flows in them."""

from __future__ import annotations

from grafana.panels import GREEN, ORANGE, RED, graph, heat
from grafana.queries import Query, mean, quantiles, rate, total
from trioproxy import metrics as m

PANELS = (
    graph(
        "Open tunnels by upstream",
        "How tunnels are spread. They stay where they were opened: after a restart of one upstream it has few until "
        "clients reconnect; least-connections evens that out sooner.",
        "short",
        Query(total(m.TUNNELS_ACTIVE, by="pool, upstream"), "{{pool}} {{upstream}}"),
        stacked=True,
    ),
    graph(
        "Open tunnels by route",
        "Which service the open tunnels are for, all proxies together.",
        "short",
        Query(total(m.TUNNELS_ACTIVE, by="route"), "{{route}}"),
        stacked=True,
    ),
    graph(
        "Tunnels opened and ended",
        "A second. Both high with few tunnels open: clients that are thrown out and come back, see Endings and closes.",
        "ops",
        Query(rate(m.TUNNELS), "opened"),
        Query(rate(m.CLOSES), "ended"),
    ),
    graph(
        "Messages by pool",
        "Whole messages a second, by the way they went.",
        "ops",
        Query(rate(m.MESSAGES, by="pool, direction"), "{{pool}} {{direction}}"),
    ),
    graph(
        "Bytes by pool",
        "A second, frame headers included.",
        "Bps",
        Query(rate(m.BYTES, by="pool, direction"), "{{pool}} {{direction}}"),
    ),
    graph(
        "Frames by kind",
        "A second. More continuation than text and binary: a side sends messages in fragments. Ping and pong are those "
        "of the clients and upstreams.",
        "ops",
        Query(rate(m.FRAMES, by="direction, opcode"), "{{direction}} {{opcode}}"),
    ),
    graph(
        "Message size",
        "Payload as on the wire. Close to websocket.max_message_bytes some are refused with Close 1009.",
        "bytes",
        *quantiles(m.MESSAGE_SIZE, "{{direction}}", by="direction"),
        Query(mean(m.MESSAGE_SIZE, by="direction"), "{{direction}} mean"),
    ),
    heat(
        "Message sizes",
        "How many messages a second there are of each size, both ways together.",
        "bytes",
        Query(rate(m.MESSAGE_SIZE, by="le", suffix="_bucket"), "{{le}}"),
    ),
    graph(
        "Frames of the proxy itself",
        "A second, by the side that got them: pings of websocket.ping_interval and Close frames; pong are the answers "
        "it took out. Close frames come with drains, reloads, limits and upstreams that vanish.",
        "ops",
        Query(rate(m.INJECTED_FRAMES, by="side, opcode"), "{{side}} {{opcode}}"),
    ),
    graph(
        "Ping round trip",
        "From the proxy's ping to the Pong, by the side that was pinged; empty with websocket.ping_interval = 0. "
        "Clients at seconds: bad networks. Upstreams above a few ms: they are busy.",
        "s",
        *quantiles(m.PING_RTT, "{{side}}", by="side"),
        limits=((None, GREEN), (1, ORANGE), (5, RED)),
    ),
    graph(
        "Life of tunnels",
        "Of those that ended. Half of them at just 60 s, 5 min or 1 h: a timeout on the way cuts them, here or in "
        "front; websocket.ping_interval keeps them alive.",
        "s",
        *quantiles(m.TUNNEL_DURATION, shares=(0.1, 0.5, 0.9)),
    ),
    heat(
        "Lives of tunnels",
        "How many tunnels a second ended at which age. A bright line at one age is a timeout.",
        "s",
        Query(rate(m.TUNNEL_DURATION, by="le", suffix="_bucket"), "{{le}}"),
    ),
)
