// The tiles with a number and its last five minutes as lines, and the bar of an upstream. Drawn as SVG by hand.
//
// What is in a sample is `page`'s business: a tile is told how to read its series.

import { drawn, element, mark, say } from "./dom.js";

const SECONDS = 300; // across
const WIDTH = 300;
const HEIGHT = 56;
const GAP = 3.5; // seconds without a sample: the line is broken, not drawn through

/** Where the window begins that ends with the newest sample. */
function left(samples) {
  return samples.at(-1).time - SECONDS;
}

/** The path of [time, value] pairs; a value of null is a gap, and a point alone a short stroke. */
export function line(points, start, top, height) {
  const x = (time) => (((time - start) / SECONDS) * WIDTH).toFixed(1);
  const y = (value) => (height - 1.5 - (top ? value / top : 0) * (height - 4)).toFixed(1);
  let path = "";
  let before = -Infinity;
  for (const [time, value] of points) {
    if (value === null || time < start) continue;
    path += time - before > GAP ? `M${x(time)} ${y(value)}h.1` : `L${x(time)} ${y(value)}`;
    before = time;
  }
  return path;
}

/** What lies under a line: each of its pieces is closed along the bottom. */
export function area(path, height) {
  return path.split(/(?=M)/).map((piece) => {
    const points = piece.match(/[\d.]+ [\d.]+/g) || [];
    return points.length < 2 ? "" : `M${points[0].split(" ")[0]} ${height}L${points.join("L")}L${points.at(-1).split(" ")[0]} ${height}Z`;
  }).join("");
}

function canvas(height, ...inside) {
  const box = { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" };
  return drawn("svg", box, ...inside);
}

/**
 * One tile. `series` are {name, read(sample), mark}: `read` gives a number, or null for none. The first is filled. A
 * series may have `more(sample)`: words behind its number. */
export class Tile {
  constructor({ title, series, write, total }) {
    Object.assign(this, { series, write, total });
    this.value = element("p", { class: "value" });
    this.parts = series.map((each) => ({ ...each, text: element("span"), path: drawn("path", { class: `line ${each.mark}` }) }));
    this.area = drawn("path", { class: `area ${series[0].mark}` });
    const legend = this.parts.map(({ name, text, mark: kind }) =>
      element("li", {}, element("span", { class: `key ${kind}`, "aria-hidden": "true" }), `${name} `, text));
    this.peak = element("span", { class: "peak" });
    this.cursor = drawn("path", { class: "cursor" });
    this.plot = element("div", { class: "plot" }, canvas(HEIGHT, this.area, ...this.parts.map((part) => part.path), this.cursor), this.peak);
    this.node = element("article", { class: "tile" },
      element("h3", {}, title), this.value, element("ul", { class: "legend" }, ...legend), this.plot);
  }

  /** The samples of the window, and of which one the numbers are. */
  draw(samples, shown) {
    const start = left(samples);
    const all = this.parts.map(({ read }) => samples.map((sample) => [sample.time, read(sample)]));
    const top = all.flat().reduce((most, [time, value]) => (time >= start && value > most ? value : most), 0);
    this.parts.forEach((part, index) => {
      mark(part.path, "d", line(all[index], start, top, HEIGHT));
      const value = part.read(shown);
      const more = part.more?.(shown);
      say(part.text, (value === null ? "–" : this.write(value)) + (more ? ` ${more}` : ""));
    });
    mark(this.area, "d", area(this.parts[0].path.getAttribute("d"), HEIGHT));
    const sum = this.total(shown);
    say(this.value, sum === null ? "–" : this.write(sum));
    say(this.peak, top ? `peak ${this.write(top)}` : "");
    const at = (((shown.time - start) / SECONDS) * WIDTH).toFixed(1);
    mark(this.cursor, "d", shown === samples.at(-1) ? "M0 0" : `M${at} 0V${HEIGHT}`);
  }
}

/** How much of `most` somebody has, as a bar next to the number that says it. */
export class Bar {
  constructor() {
    this.part = drawn("rect", { class: "part", height: "6", rx: "3" });
    this.node = drawn("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      drawn("rect", { class: "whole", width: "100", height: "6", rx: "3" }), this.part);
  }

  draw(value, most) {
    mark(this.part, "width", most ? ((value / most) * 100).toFixed(1) : "0");
  }
}

/**
 * The moment the tiles tell of: now, or where the pointer or the arrow keys are. `changed` is called when it is another.
 * It is kept as an age, so that it stays under a pointer that does not move.
 */
export class Moment {
  constructor(node, changed) {
    this.age = 0;
    node.addEventListener("pointermove", (event) => {
      const plot = event.target.closest?.(".tile")?.querySelector(".plot").getBoundingClientRect();
      if (!plot || event.pointerType === "touch") return;
      const part = Math.min(1, Math.max(0, (event.clientX - plot.left) / plot.width));
      this.go(Math.round((1 - part) * SECONDS), changed);
    });
    node.addEventListener("pointerleave", () => this.go(0, changed));
    node.addEventListener("blur", () => this.go(0, changed));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 5, ArrowRight: -5, Home: SECONDS, End: -SECONDS }[event.key];
      if (event.key === "Escape") this.go(0, changed);
      else if (step) this.go(this.age + step, changed);
      else return;
      event.preventDefault();
    });
  }

  go(age, changed) {
    const next = Math.min(SECONDS, Math.max(0, age));
    if (next === this.age) return;
    this.age = next;
    changed();
  }

  /** The sample of that moment; the newest where there is none near it. */
  of(samples) {
    const newest = samples.at(-1);
    if (!this.age) return newest;
    const wanted = newest.time - this.age;
    const found = samples.reduce((best, each) => (Math.abs(each.time - wanted) < Math.abs(best.time - wanted) ? each : best));
    return Math.abs(found.time - wanted) < GAP ? found : newest;
  }
}
