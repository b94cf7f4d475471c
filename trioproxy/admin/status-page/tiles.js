// Which tiles there are, and how each reads its numbers out of a sample.

import { count, latency, octets, words } from "./format.js";

const ORDINARY = ["done", "idle", "aged", "draining", "operator", "removed"]; // as somebody wanted it

function sum(of) {
  return Object.values(of || {}).reduce((all, value) => all + value, 0);
}

/** Both directions of one thing, both are drawn: what goes to clients is filled. */
function ways(title, field, write) {
  return {
    title, write, total: (sample) => sum(sample[field]),
    series: [
      { name: "to client", mark: "to-client", read: (sample) => sample[field].to_client },
      { name: "to upstream", mark: "to-upstream", read: (sample) => sample[field].to_upstream },
    ],
  };
}

function ordinary(sample) {
  return ORDINARY.reduce((all, reason) => all + (sample.endings_per_second[reason] || 0), 0);
}

/** The reasons of the other endings, the most frequent first. */
function others(sample) {
  const reasons = Object.entries(sample.endings_per_second).filter(([reason, rate]) => rate && !ORDINARY.includes(reason));
  return reasons.sort(([, a], [, b]) => b - a).map(([reason]) => words(reason)).join(", ");
}

export const TILES = [
  {
    title: "Tunnels", write: count, total: (sample) => sample.tunnels,
    series: [{ name: "open", mark: "to-client", read: (sample) => sample.tunnels }],
  },
  ways("Messages/s", "messages_per_second", count),
  ways("Bytes/s", "bytes_per_second", octets),
  {
    title: "Handshake time", write: latency, total: (sample) => (sample.handshake_seconds ? sample.handshake_seconds.p50 : null),
    series: ["p50", "p99"].map((name, at) => ({
      name, mark: ["to-client", "to-upstream"][at], read: (sample) => (sample.handshake_seconds ? sample.handshake_seconds[name] : null),
    })),
  },
  {
    title: "Handshakes/s", write: count, total: (sample) => sum(sample.handshakes_per_second),
    series: [
      { name: "accepted", mark: "to-client", read: (sample) => sample.handshakes_per_second.accepted },
      { name: "failed", mark: "wrong", read: (sample) => sample.handshakes_per_second.failed },
    ],
  },
  {
    title: "Endings/s", write: count, total: (sample) => sum(sample.endings_per_second),
    series: [
      { name: "as wanted", mark: "to-client", read: ordinary },
      { name: "other", mark: "wrong", read: (sample) => sum(sample.endings_per_second) - ordinary(sample), more: others },
    ],
  },
];
