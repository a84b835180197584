// Elements without markup: whatever a task says becomes text, never HTML.

const SVG = "http://www.w3.org/2000/svg";

/// An element with properties, attributes, listeners (`onclick`) and children. There is no way to pass
/// markup or a style: the content security policy would refuse it, and hostile data could use it.
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const by = (id) => document.getElementById(id);

/// Sets text only where it differs: a write of the same text costs a layout all the same.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function put(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

function svg(view, ...shapes) {
  const element = document.createElementNS(SVG, "svg");
  element.setAttribute("viewBox", view);
  element.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    element.append(shape);
  }
  return element;
}

const line = { fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" };
const disc = ["circle", { cx: 8, cy: 8, r: 8, fill: "currentColor" }];
const white = { ...line, stroke: "var(--card)" };
const SHAPES = {
  pending: [["circle", { ...line, cx: 8, cy: 8, r: 6.5, "stroke-dasharray": "3 3.2" }]],
  running: [disc, ["path", { d: "M6.4 4.9v6.2L11.4 8z", fill: "var(--card)" }]],
  blocked: [disc, ["path", { ...white, d: "M6.3 5.3v5.4M9.7 5.3v5.4" }]],
  succeeded: [disc, ["path", { ...white, d: "M4.8 8.3l2.3 2.2 4.2-4.7" }]],
  failed: [disc, ["path", { ...white, d: "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8" }]],
  cancelled: [disc, ["path", { ...white, d: "M4.8 8h6.4" }]],
};

/// The mark of a state: its shape says it as well as its colour.
export function mark(state) {
  const element = h("span", { class: "mark", "data-tone": state });
  element.append(svg("0 0 16 16", ...(SHAPES[state] ?? SHAPES.pending)));
  return element;
}

export function chevron() {
  return svg("0 0 12 12", ["path", { ...line, d: "M4 2l4 4-4 4" }]);
}

/// A line through `values`, as wide and as high as its place.
export function spark(values) {
  const width = 300, height = 44, most = Math.max(...values, Number.MIN_VALUE);
  const at = values.map((value, index) =>
    `${((index / Math.max(values.length - 1, 1)) * width).toFixed(1)} ${(height - 3 - (value / most) * (height - 8)).toFixed(1)}`);
  const path = `M${at.join("L")}`;
  const element = svg(`0 0 ${width} ${height}`,
    ["path", { d: `${path}L${width} ${height}L0 ${height}Z`, fill: "currentColor", "fill-opacity": 0.12 }],
    ["path", { ...line, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke", d: path }]);
  element.setAttribute("class", "spark");
  element.setAttribute("preserveAspectRatio", "none");
  return element;
}
