// Elements made and kept up to date. What comes from the proxy becomes text or an attribute's value, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** One element of the page by its id. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element: attributes, then children that are nodes or text. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Text and attributes are written where they differ only: a page that stands still costs nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/**
 * Make the children of `parent` those of `items`, in their order, and keep the nodes whose key stays: whoever is about to
 * press a button finds it where it was. `make(item)` gives an object with a `node`, `update(part, item)` brings it up to date.
 */
export function keyed(parent, parts, items, key, make, update) {
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [name, part] of parts) {
    if (wanted.has(name)) continue;
    part.node.remove();
    parts.delete(name);
  }
  let place = parent.firstElementChild;
  for (const [name, item] of wanted) {
    let part = parts.get(name);
    if (!part) parts.set(name, (part = make(item)));
    if (part.node === place) place = place.nextElementSibling;
    else parent.insertBefore(part.node, place);
    update(part, item);
  }
}

/**
 * A table that says its roles itself: on a narrow screen its rows are shown as cards, and browsers forget what is a table
 * as soon as it is not displayed as one. `columns` are [name, class]. Gives the table and its body.
 */
export function table(caption, columns) {
  const heads = columns.map(([name, kind]) =>
    element("th", { role: "columnheader", scope: "col", class: kind }, name || element("span", { class: "unseen" }, "Commands")));
  const body = element("tbody", { role: "rowgroup" });
  const whole = element("table", { role: "table" },
    element("caption", { class: "unseen" }, caption),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...heads)), body);
  return { table: whole, body, caption: whole.firstElementChild };
}

/** A cell; `label` is what stands before it on a narrow screen, where there are no heads of columns. */
export function cell(label, kind, ...children) {
  return element("td", { role: "cell", class: kind, "data-label": label }, ...children);
}

export function rowHead(...children) {
  return element("th", { role: "rowheader", scope: "row" }, ...children);
}
