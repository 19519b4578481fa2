// Builds the page's elements. Texts of items, users and events only ever become text
// nodes or attributes: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element. `on` holds listeners, `vars` custom properties of CSS. */
export function h(name, props, ...children) {
  return build(document.createElement(name), props, children);
}

/** Creates an SVG element. */
export function s(name, props, ...children) {
  return build(document.createElementNS(SVG, name), props, children);
}

function build(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") {
      for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    } else if (key === "vars") {
      for (const [property, of] of Object.entries(value)) node.style.setProperty(property, of);
    } else if (key === "value" || key === "checked" || key === "disabled" || key === "hidden") {
      node[key] = value;
    } else {
      node.setAttribute(key, value === true ? "" : value);
    }
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** Replaces what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));
}

const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu;

/** A text from outside in one line: of at most `length` characters, control and
 * direction characters made visible. */
export function plain(text, length = 120) {
  // Cut first, since the text may be of any size.
  const start = String(text ?? "").slice(0, length + 1);
  const shown = start.replace(/\s+/gu, " ").replace(CONTROL, "\u{fffd}");
  return shown.length > length ? `${shown.slice(0, length - 1)}…` : shown;
}

/** The same as an element whose direction of writing does not affect its neighbors. */
export function bdi(text, length = 120, props = {}) {
  const shown = plain(text, length);
  const title = shown.endsWith("…") ? plain(text, 400) : undefined;
  return h("bdi", { title, ...props }, shown);
}

/** Makes a formatter when it is first used: each takes milliseconds to make. */
const lazily = (make) => {
  let made;
  return (value) => (made ??= make()).format(value);
};
const number = lazily(() => new Intl.NumberFormat("en"));
const short = lazily(() => new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }));

export const count = (value) => number(value ?? 0);
export const compact = (value) => (value < 10_000 ? count(value) : short(value));
export const score = (value) => (value ?? 0).toFixed(3);
export const few = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** A share as a percentage: never rounded to 0 % or 100 % unless it is. */
export function percent(part, whole = 1) {
  if (!whole) return "–";
  const share = part / whole;
  if (share > 0 && share < 0.001) return "< 0.1 %";
  const digits = share < 0.1 || (share > 0.99 && share < 1) ? 1 : 0;
  if (share < 1 && share > 0.999) return "> 99.9 %";
  return `${(share * 100).toFixed(share === 0 || share === 1 ? 0 : digits)} %`;
}

export function millis(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function bytes(size) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export function span(seconds) {
  const steps = [[86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]];
  for (const [size, unit] of steps) {
    if (seconds >= size) return few(Math.floor(seconds / size), unit);
  }
  return "0 seconds";
}

const clock = lazily(() => new Intl.DateTimeFormat("en-GB", {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
}));
export const dayOf = lazily(() => new Intl.DateTimeFormat("en-GB", { month: "short", day: "numeric" }));

/** A time as an element. Times that cannot be read are shown as text. */
export function when(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return h("span", {}, plain(text, 40));
  return h("time", { datetime: time.toISOString(), title: time.toISOString() }, clock(time));
}

/** Lets the browser paint and take input, between two pieces of work. */
export function breathe() {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      // Else the port keeps itself alive.
      channel.port1.close();
      resolve();
    };
    requestAnimationFrame(() => channel.port2.postMessage(0));
    // A hidden page gets no frames.
    setTimeout(resolve, 100);
  });
}

/** Appends one node for each element, a few per frame. Stops once `signal` is aborted. */
export async function appendAll(parent, elements, build, signal, step = 5) {
  for (let from = 0; from < elements.length; from += step) {
    if (from > 0) await breathe();
    if (signal?.aborted) return;
    parent.append(...elements.slice(from, from + step).map((one, i) => build(one, from + i)));
  }
}

let announced = 0;

/** Has a screen reader read a sentence. */
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  clearTimeout(announced);
  announced = setTimeout(() => (live.textContent = text), 60);
}

/** A button. */
export function button(label, click, props = {}) {
  return h("button", { type: "button", class: "button", on: { click }, ...props }, label);
}
