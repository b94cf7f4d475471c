// The pools and their upstreams: state, load, weight, last probe, and the buttons that take one out and back.

import { Bar } from "./charts.js";
import { cell, element, keyed, mark, rowHead, say, show, table } from "./dom.js";
import { clock, count, latency, octets, plural, span, words } from "./format.js";

const COLUMNS = [["Upstream", "name"], ["State", "stands"], ["Tunnels", "number share"], ["Messages/s", "number"], ["Bytes/s", "number"], ["Weight", "number weight"], ["Last probe", "probe"], ["", "command"]];
const STATES = new Set(["up", "down", "ejected", "draining", "unknown"]); // those that have a look of their own

function sum(both) {
  return both ? both.to_upstream + both.to_client : 0;
}

/** Its state as one word, and what there is to say besides. */
function stateOf({ state, health, drain, active }) {
  if (state !== "draining") return [state, ""];
  const left = drain?.cut_in_seconds;
  const own = health === "up" ? "" : `, is ${health}`;
  if (!active) return ["drained", own && `it ${own.slice(2)}`];
  return ["draining", (left > 0 ? `cut in ${span(Math.ceil(left))}` : `${plural(active, "lease")} left`) + own];
}

/** How the last probe went, without the address, which stands beside it; and when. */
function probeOf({ last_probe: probe, address }) {
  if (!probe) return ["–", ""];
  const detail = probe.detail.startsWith(`${address}: `) ? probe.detail.slice(address.length + 2) : probe.detail;
  return [probe.result === "ok" ? `ok, ${latency(probe.seconds)}` : detail || words(probe.result), `${words(probe.result)} at ${clock(probe.when)}`];
}

class Row {
  constructor(upstream, command) {
    this.upstream = upstream;
    this.bar = new Bar();
    this.state = element("span", { class: "state" });
    this.more = element("span", { class: "more" });
    this.tunnels = element("span", { class: "count" });
    this.requests = element("span", { class: "more" });
    this.backup = element("span", { class: "tag", hidden: "" }, "backup");
    this.cells = { messages: cell("Messages/s", "number"), bytes: cell("Bytes/s", "number"), weight: cell("Weight", "number weight"), probe: cell("Last probe", "probe") };
    this.button = element("button", { type: "button" });
    this.button.addEventListener("click", () => command(this.upstream));
    this.node = element("tr", { role: "row" },
      rowHead(element("bdi", {}, upstream.address), " ", this.backup),
      cell("State", "stands", this.state, this.more),
      cell("Tunnels", "number share", this.bar.node, this.tunnels, this.requests),
      ...Object.values(this.cells), cell("", "command", this.button));
  }

  update(upstream, most) {
    this.upstream = upstream;
    const { state, active, tunnels } = upstream;
    this.bar.draw(tunnels, most);
    const [word, more] = stateOf(upstream);
    say(this.state, word);
    say(this.more, more);
    mark(this.node, "data-state", STATES.has(state) ? state : "unknown");
    say(this.tunnels, count(tunnels));
    say(this.requests, active > tunnels ? `+${plural(active - tunnels, "request")}` : "");
    show(this.backup, upstream.backup);
    say(this.cells.messages, count(sum(upstream.messages_per_second)));
    say(this.cells.bytes, octets(sum(upstream.bytes_per_second)));
    say(this.cells.weight, count(upstream.weight));
    const [result, when] = probeOf(upstream);
    say(this.cells.probe, result);
    mark(this.cells.probe, "title", when || null);
    const drained = state === "draining";
    say(this.button, drained ? "Resume" : "Drain");
    mark(this.button, "aria-label", `${drained ? "Resume" : "Drain"} ${upstream.address}`);
  }
}

class Pool {
  constructor(pool, command) {
    this.rows = new Map();
    this.sum = element("p", { class: "quiet" });
    const { table: whole, body } = table(`Upstreams of pool ${pool.name}`, COLUMNS);
    this.body = body;
    this.command = command;
    this.balance = element("span", { class: "quiet" });
    this.node = element("div", { class: "pool card" },
      element("div", { class: "head" }, element("h3", {}, element("bdi", {}, pool.name), " ", this.balance), this.sum), whole);
  }

  update(pool) {
    const up = pool.upstreams.filter((upstream) => upstream.state === "up").length;
    const tunnels = pool.upstreams.reduce((all, upstream) => all + upstream.tunnels, 0);
    say(this.balance, pool.balance);
    say(this.sum, `${up} of ${pool.upstreams.length} up, ${plural(tunnels, "tunnel")}${pool.queued ? `, ${count(pool.queued)} waiting` : ""}`);
    mark(this.node, "data-up", up === pool.upstreams.length ? "all" : up ? "some" : "none");
    const make = (upstream) => new Row(upstream, (now) => this.command(pool.name, now));
    const most = Math.max(...pool.upstreams.map((upstream) => upstream.tunnels));
    keyed(this.body, this.rows, pool.upstreams, (upstream) => upstream.address, make, (row, upstream) => row.update(upstream, most));
  }
}

/** All pools; `command(pool, upstream)` is called when somebody presses the button of an upstream. */
export class Pools {
  constructor(node, line, command) {
    Object.assign(this, { node, line, command, parts: new Map() });
  }

  update(pools) {
    keyed(this.node, this.parts, pools, (pool) => pool.name, (pool) => new Pool(pool, this.command), (part, pool) => part.update(pool));
    say(this.line, pools.length ? troubles(pools) : "There are none.");
  }
}

/** What is not as it should be, in a few words. */
export function troubles(pools) {
  const all = pools.flatMap((pool) => pool.upstreams);
  const told = ["down", "ejected", "draining", "unknown"].map((state) => [all.filter((each) => each.state === state).length, state]);
  const wrong = told.filter(([number]) => number).map(([number, state]) => `${number} ${state}`).join(", ");
  return wrong || (all.length === 1 ? "1 upstream, up" : `all ${all.length} upstreams up`);
}
