// What happened, newest on top: one line for each event of the proxy.

import { element } from "./dom.js";
import { clock, words } from "./format.js";

const MOST = 100;
const GOOD = new Set(["upstream_up", "upstream_resume"]);

function kind(event) {
  if (event.level !== "info") return "bad";
  return GOOD.has(event.event) ? "good" : "plain";
}

/** A field's value, without the upstream's address, which stands before it. */
function value(of, upstream) {
  const text = typeof of === "object" ? JSON.stringify(of) : String(of);
  return upstream ? text.replace(`${upstream}: `, "") : text;
}

function entry(event) {
  const { time, event: name, upstream, pool, level, ...rest } = event;
  const where = [upstream, pool && (upstream ? `in ${pool}` : `pool ${pool}`)].filter(Boolean);
  const details = Object.entries(rest).filter(([, of]) => of !== null && of !== "").map(([key, of]) => `${words(key)} ${value(of, upstream)}`);
  const when = element("time", { datetime: new Date(time * 1000).toISOString() }, clock(time));
  const line = element("p", {}, element("strong", {}, words(name)), " ", element("bdi", {}, where.join(" ")));
  const node = element("li", { class: kind(event) }, when, line);
  if (details.length) line.append(element("bdi", { class: "quiet" }, ` ${details.join(" · ")}`));
  return node;
}

/** The list; it holds the newest hundred. */
export class Events {
  constructor(node) {
    this.node = node;
  }

  /** All there is to tell, oldest first. */
  begin(list) {
    this.node.replaceChildren(...list.slice(-MOST).map(entry).reverse());
    if (!list.length) this.node.append(element("li", { class: "none" }, "Nothing has happened yet."));
  }

  add(event) {
    this.node.querySelector(".none")?.remove();
    this.node.prepend(entry(event));
    while (this.node.children.length > MOST) this.node.lastElementChild.remove();
  }
}
