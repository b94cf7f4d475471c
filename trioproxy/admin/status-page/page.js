// The page put together: the stream's samples go to tiles, pools and events, what people press goes to the API.

import { Api } from "./api.js";
import { Asker } from "./ask.js";
import { Moment, Tile } from "./charts.js";
import { byId, mark, say, show } from "./dom.js";
import { Events } from "./events.js";
import { clock, count, plural, span } from "./format.js";
import { Pools } from "./pools.js";
import { Stream } from "./stream.js";
import { TILES } from "./tiles.js";
import { Tunnels } from "./tunnels.js";

const KEPT = 305; // seconds of samples: what the tiles show, and a little

const samples = [];
const tiles = TILES.map((each) => new Tile(each));
const api = new Api(lock);
const asker = new Asker(tell);
const events = new Events(byId("events"));
const pools = new Pools(byId("pools"), byId("pools-sum"), askUpstream);
const tunnels = new Tunnels(api, askClose);
const moment = new Moment(byId("traffic"), drawSoon);
const stream = new Stream((signal) => api.open("/api/live", { signal }), { event: heard, link: linked });
let status = null; // of /api/status: what a sample does not repeat
let link = { kind: "connecting" };
let drawing = false;

// What the stream says

function heard(name, data) {
  if (name === "history") {
    samples.length = 0;
    data.samples.forEach(keep);
    events.begin(data.events);
    lookUp();
    entitle();
  } else if (name === "sample") {
    keep(data);
    entitle();
  } else if (name === "event") {
    events.add(data);
    if (data.event.startsWith("reload")) lookUp();
  }
  drawSoon();
}

/** Pools are needed of the newest sample alone. When the proxy's clock was set back, what came before has no place. */
function keep(sample) {
  const last = samples.at(-1);
  if (last) delete last.pools;
  if (last && sample.time < last.time) samples.length = 0;
  samples.push(sample);
  while (samples[0].time < sample.time - KEPT) samples.shift();
}

/** Version, listeners and workers, which change with a restart or a reload alone. */
async function lookUp() {
  try {
    const told = await (await api.get("/api/status")).json();
    status = { ...told, at: performance.now() };
    drawSoon();
  } catch {
    // The stream says soon enough how things stand.
  }
}

// How the stream stands

const LINKS = { connecting: "Connecting", live: "Live", late: "No news", lost: "Connection lost" };

function linked(state) {
  const before = link.kind;
  link = { why: link.why, ...state, at: performance.now() };
  if (state.kind === "refused") return lock();
  // Another try changes nothing about what is lost: it says so until something comes
  if (state.kind === "connecting" && document.body.dataset.link === "lost") return;
  mark(document.body, "data-link", state.kind);
  say(byId("link"), LINKS[state.kind]);
  tunnels.live = state.kind === "live";
  if (state.kind === "live" && before !== "live") {
    lock(false);
    if (before !== "late" && tunnels.seen) tunnels.refresh();
  }
  tick();
}

/** What time alone changes. */
function tick() {
  const { kind } = link;
  const silent = stream.silent / 1000;
  const lost = kind === "lost" || kind === "late" || (kind === "connecting" && document.body.dataset.link === "lost");
  const age = samples.length ? `Shown is how things stood ${span(silent)} ago.` : "";
  show(byId("lost"), lost);
  if (lost) {
    say(byId("lost-what"), kind === "late" ? "The proxy has gone quiet." : "The connection to the proxy is lost.");
    const left = Math.ceil((link.again - (performance.now() - link.at)) / 1000);
    const next = kind === "lost" && left > 0 ? `Trying again in ${span(left)}.` : kind === "late" ? "" : "Trying again.";
    say(byId("lost-why"), [kind === "late" ? "" : link.why, age, next].filter(Boolean).join(" "));
  }
  say(byId("age"), lost && samples.length ? `${span(silent)} old` : "");
  if (status) facts();
}

function facts() {
  const newest = samples.at(-1);
  const uptime = status.uptime_seconds + (performance.now() - status.at) / 1000;
  const where = status.listeners.map((each) => each.address + (each.tls ? " (TLS)" : "")).join(", ");
  const state = newest ? newest.state : status.state;
  const told = [state, link.kind === "live" && `up ${span(uptime)}`, newest && plural(newest.connections, "connection"), where && `on ${where}`, status.workers > 1 && plural(status.workers, "worker")];
  say(byId("version"), status.version);
  say(byId("facts"), told.filter(Boolean).join(" · "));
  mark(document.body, "data-proxy", state === "running" ? null : "other");
}

/** Where faults may be injected everybody who looks is to know it, and how many are on. */
function chaos(on) {
  show(byId("chaos"), on != null);
  say(byId("chaos"), on == null ? "" : on ? `Chaos: ${plural(on, "fault")} injected` : "Chaos verbs allowed");
  mark(document.body, "data-chaos", on ? "on" : null);
}

/** What is wrong stands in the tab's name, where it is seen from another tab. */
function entitle() {
  const down = samples.at(-1).pools.flatMap((pool) => pool.upstreams).filter((each) => each.state === "down").length;
  const title = down ? `${down} down · trioproxy` : "trioproxy";
  if (document.title !== title) document.title = title;
}

function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw); // not while the tab is hidden: samples are kept, and drawn when it is looked at
}

function draw() {
  drawing = false;
  const newest = samples.at(-1);
  if (!newest) return;
  const shown = moment.of(samples);
  tiles.forEach((tile) => tile.draw(samples, shown));
  say(byId("moment"), shown === newest ? "The last five minutes" : `At ${clock(shown.time)}, ${span(newest.time - shown.time)} ago`);
  chaos(newest.chaos);
  pools.update(newest.pools);
  tunnels.choices(newest.pools);
  tunnels.counted(newest.tunnels);
  tick();
}

// What people do

function askUpstream(pool, upstream) {
  const { address } = upstream;
  const path = `/api/pools/${encodeURIComponent(pool)}/upstreams/${encodeURIComponent(address)}`;
  if (upstream.state === "draining") {
    asker.ask({
      title: `Resume ${address}?`, yes: "Resume", text: `It gets work of pool ${pool} again as soon as its health allows it.`,
      act: async () => `${address} is ${(await api.post(`${path}/resume`, {})).state}.`,
    });
    return;
  }
  asker.ask({
    title: `Drain ${address}?`, yes: "Drain",
    text: `It gets no new work of pool ${pool}. Its tunnels (${count(upstream.tunnels)} now) are asked to close with code 1012, spread over time; what is left at the end is cut.`,
    fields: [{ name: "spread", label: "Spread over", unit: "s" }, { name: "timeout", label: "Cut after", unit: "s" }],
    act: async (values) => {
      const told = await api.post(`${path}/drain`, values);
      return `${address} is draining: ${plural(told.tunnels, "tunnel")} to close over ${span(told.spread)}, cut after ${span(told.timeout)}.`;
    },
  });
}

function askClose(tunnel) {
  asker.ask({
    title: `Close tunnel ${tunnel.id}?`, yes: "Close",
    text: `Its client ${tunnel.client} gets a Close frame with code 1012, and may come back.`,
    act: async () => {
      await api.post(`/api/tunnels/${encodeURIComponent(tunnel.id)}/close`, {});
      setTimeout(() => tunnels.refresh(), 300);
      return `Tunnel ${tunnel.id} was asked to close.`;
    },
  });
}

function tell(sentence) {
  const node = byId("told");
  say(node, sentence);
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => say(node, ""), 8000);
}

// The token

function lock(locked = true) {
  const tried = api.token !== null;
  show(byId("unlock"), locked);
  show(byId("main"), !locked);
  show(byId("forget"), !locked && tried);
  mark(document.body, "data-token", locked || tried ? "" : null);
  if (!locked) return say(byId("token-error"), "");
  stream.stop();
  byId("ask").close();
  say(byId("link"), "Locked");
  mark(document.body, "data-link", "locked");
  tunnels.live = false;
  say(byId("token-error"), tried ? "The proxy does not take this token." : "");
  api.token = null;
  samples.length = 0;
  status = null;
  [byId("version"), byId("facts")].forEach((node) => say(node, ""));
  chaos(null);
  byId("token").focus();
}

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  api.token = byId("token").value.trim();
  byId("token").value = "";
  stream.retry();
});
byId("forget").addEventListener("click", () => {
  api.token = null;
  stream.retry();
});

// When to look again

byId("retry").addEventListener("click", () => stream.retry());
const again = () => link.kind === "lost" && stream.retry();
addEventListener("online", again);
addEventListener("pageshow", (event) => event.persisted && stream.retry());
document.addEventListener("visibilitychange", () => !document.hidden && again());
setInterval(tick, 500);

byId("traffic").append(...tiles.map((tile) => tile.node));
stream.retry();
