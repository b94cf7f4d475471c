// The table of open tunnels: a page of them, of all or of one pool or upstream, looked up anew while it is in sight.

import { byId, cell, element, keyed, mark, rowHead, say, table } from "./dom.js";
import { count, octets, plural, span } from "./format.js";

const PER_PAGE = 50;
const EVERY = 5000; // milliseconds; a list of 10,000 costs the proxy some 20 ms
const SOON = 900; // when their number has changed, and there are
const FEW = 500;
const COLUMNS = [["Tunnel", ""], ["Client", ""], ["Path", ""], ["Upstream", ""], ["Subprotocol", ""], ["Age", "number"], ["Idle", "number"], ["Messages ↑ ↓", "number"], ["Bytes ↑ ↓", "number"], ["", "command"]];

/** Both directions in a cell: what went to the upstream, and what to the client. */
class Ways {
  constructor(label) {
    this.parts = ["to_upstream", "to_client"].map((name) => [name, element("span", { class: "way" })]);
    this.cell = cell(label, "number", ...this.parts.map(([, node]) => node));
  }

  update(both, write) {
    for (const [name, node] of this.parts) say(node, `${write(both[name])} ${name === "to_upstream" ? "↑" : "↓"}`);
  }
}

class Row {
  constructor(tunnel, close) {
    this.age = cell("Age", "number");
    this.idle = cell("Idle", "number");
    this.messages = new Ways("Messages");
    this.bytes = new Ways("Bytes");
    this.button = element("button", { type: "button" }, "Close");
    this.button.addEventListener("click", () => close(tunnel));
    const text = (label, value, more) => {
      const shown = element("bdi", {}, value || "–");
      return cell(label, "text", shown, ...(more ? [element("span", { class: "more" }, element("bdi", {}, more))] : []));
    };
    this.node = element("tr", { role: "row" },
      rowHead(element("code", {}, tunnel.id)), text("Client", tunnel.client, tunnel.listener),
      text("Path", tunnel.path, tunnel.host), text("Upstream", tunnel.upstream, tunnel.pool), text("Subprotocol", tunnel.subprotocol),
      this.age, this.idle, this.messages.cell, this.bytes.cell, cell("", "command", this.button));
    mark(this.button, "aria-label", `Close tunnel ${tunnel.id}`);
  }

  update(tunnel) {
    say(this.age, span(tunnel.age));
    say(this.idle, span(tunnel.idle));
    this.messages.update(tunnel.messages, count);
    this.bytes.update(tunnel.bytes, octets);
    say(this.button, tunnel.closing ? "Closing" : "Close");
    this.button.disabled = tunnel.closing;
  }
}

/** `close(tunnel)` is called when somebody presses the button of a tunnel. */
export class Tunnels {
  constructor(api, close) {
    Object.assign(this, { api, close, rows: new Map(), starts: [""], seen: false, asked: 0, pools: [] });
    const { table: whole, body, caption } = table("Open tunnels", COLUMNS);
    Object.assign(this, { whole, body, caption });
    byId("tunnels").append(whole);
    this.pool = byId("filter-pool");
    this.upstream = byId("filter-upstream");
    byId("tunnels-filter").addEventListener("submit", (event) => event.preventDefault());
    this.pool.addEventListener("change", () => {
      this.upstreams();
      this.from("");
    });
    this.upstream.addEventListener("change", () => this.from(""));
    byId("tunnels-first").addEventListener("click", () => this.from(""));
    byId("tunnels-next").addEventListener("click", () => this.next && this.from(this.next));
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen && performance.now() - this.asked > EVERY) this.refresh();
    }).observe(byId("tunnels-section"));
    setInterval(() => this.seen && !document.hidden && this.live && this.refresh(), EVERY);
    this.options(this.pool, [], "all");
    this.options(this.upstream, [], "all");
  }

  /** Which pools and upstreams may be chosen. */
  choices(pools) {
    this.pools = pools;
    this.options(this.pool, pools.map((pool) => pool.name), "all");
    this.upstreams();
  }

  /** How many there are by the newest sample: a list that is short, and out of date, is looked up anew. */
  counted(number) {
    if (number === this.known || number > FEW || !this.seen || document.hidden || performance.now() - this.asked < SOON) return;
    this.known = number;
    this.refresh();
  }

  upstreams() {
    const of = this.pools.filter((pool) => !this.pool.value || pool.name === this.pool.value);
    this.options(this.upstream, [...new Set(of.flatMap((pool) => pool.upstreams.map((each) => each.address)))], "all");
  }

  options(select, names, none) {
    const texts = [none, ...names];
    if (texts.length === select.options.length && texts.every((text, at) => select.options[at].textContent === text)) return;
    const { value } = select;
    select.replaceChildren(...texts.map((text, at) => element("option", { value: at ? text : "" }, text)));
    select.value = names.includes(value) ? value : "";
  }

  from(after) {
    this.after = after;
    return this.refresh();
  }

  /** Ask again; of several answers under way the last one counts. */
  async refresh() {
    this.asked = performance.now();
    const turn = (this.turn = {});
    const where = { pool: this.pool.value, upstream: this.upstream.value, after: this.after || "" };
    const query = new URLSearchParams({ limit: PER_PAGE, ...Object.fromEntries(Object.entries(where).filter(([, value]) => value)) });
    try {
      const response = await this.api.get(`/api/tunnels?${query}`);
      const list = await response.json();
      if (turn === this.turn) this.fill(list, Number(response.headers.get("x-total-count")));
    } catch (error) {
      if (turn === this.turn) say(byId("tunnels-sum"), error.message);
    }
  }

  fill(list, total) {
    if (!list.length && this.after) return void this.from(""); // the page has gone with its tunnels
    keyed(this.body, this.rows, list, (tunnel) => tunnel.id, (tunnel) => new Row(tunnel, this.close), (row, tunnel) => row.update(tunnel));
    this.next = list.length === PER_PAGE ? list.at(-1).id : "";
    const place = this.after ? `, ${list.length} of them here` : "";
    say(byId("tunnels-sum"), total > list.length ? `${plural(total, "tunnel")}${place || `, the first ${list.length} here`}` : `${plural(total, "tunnel")} open`);
    byId("tunnels-first").disabled = !this.after;
    byId("tunnels-next").disabled = !this.next;
    mark(this.whole, "data-empty", total ? null : "");
  }
}
