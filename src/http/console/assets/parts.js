// Pieces that several views are made of.

import { ApiError } from "./api.js";
import {
  announce, bdi, breathe, button, count, few, fill, h, icon, plain, score,
} from "./dom.js";

// -- States of a view -----------------------------------------------------------------

/** What stands in a panel while it loads. */
export function loading(lines = 3) {
  const bones = Array.from({ length: lines }, () => h("div", { class: "bone" }));
  return h("div", { class: "loading", role: "status", "aria-label": "Loading" }, bones);
}

export function empty(title, ...text) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), text);
}

const HINTS = {
  unauthenticated: "Log in again.",
  permission_denied: "The key of this session may not do this. Log in with a key that has the roles “serve” and “read-profile”.",
  unavailable: "A store may be down. The view Health shows which.",
  resource_exhausted: "The server is busy, or a quota is used up. Try again in a moment.",
  deadline_exceeded: "The server took too long. Try again, or ask for less.",
  unimplemented: "This server does not offer it.",
  internal: "The server's log has the cause.",
};

/** A failed call: what happened, what to do, and a button to try again. */
export function failure(error, retry) {
  const known = error instanceof ApiError;
  if (!known) console.error(error);
  const message = known ? error.message : "The page failed to show this.";
  const wait = known && error.retryAfter ? ` Retry after ${few(error.retryAfter, "second")}.` : "";
  const rules = known ? error.violations : [];
  announce(`Failed: ${plain(message)}`);
  return h("div", { class: "callout bad", role: "alert" },
    icon("alert"),
    h("div", {},
      h("p", { class: "callout-title" }, bdi(message, 500)),
      rules.length > 0 && h("ul", { class: "plain" }, rules.slice(0, 16).map((rule) =>
        h("li", {}, h("code", {}, plain(rule.field, 80)), " ", plain(rule.description, 300)))),
      h("p", { class: "muted" }, `${HINTS[error.code] ?? ""}${wait}`,
        known && h("span", { class: "code" }, ` ${error.code}`)),
      retry && h("p", {}, button("Try again", retry))));
}

/** A remark with what to do about it. `kind` is bad, warn, good or info. */
export function callout(kind, title, ...text) {
  const symbol = { bad: "alert", warn: "alert", good: "ok", info: "info" }[kind];
  return h("div", { class: `callout ${kind}` }, icon(symbol),
    h("div", {}, h("p", { class: "callout-title" }, title), text));
}

/** Runs `work`, showing in `node` that it loads, and why it failed. */
export async function show(node, latest, work, retry, lines) {
  node.setAttribute("aria-busy", "true");
  // A quick reply replaces what stands there without a flash.
  const slow = setTimeout(() => fill(node, loading(lines)), 150);
  try {
    const built = await latest.run(work);
    if (built === undefined) return false;
    clearTimeout(slow);
    fill(node, built);
    return true;
  } catch (error) {
    clearTimeout(slow);
    fill(node, failure(error, retry));
    return false;
  } finally {
    clearTimeout(slow);
    node.removeAttribute("aria-busy");
  }
}

// -- Small pieces ---------------------------------------------------------------------

export const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);

export function panel(title, props, ...children) {
  const { aside, note, ...rest } = props ?? {};
  return h("section", { class: "panel", ...rest },
    h("div", { class: "panel-head" }, h("h2", {}, title), aside),
    note && h("p", { class: "note" }, note), children);
}

/** A number with its name. */
export const figure = (name, value, note) =>
  h("div", { class: "figure" }, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));

export const figures = (...all) => h("dl", { class: "figures" }, all);

/** A horizontal bar of `share`, 0 to 1. Decoration only: write the number beside it. */
export const bar = (share, color = "--accent") =>
  h("span", { class: "track", "aria-hidden": "true" },
    h("span", { class: "fill", vars: { "--c": `var(${color})`, "--w": `${Math.min(1, Math.max(0, share || 0)) * 100}%` } }));

/** A table that can be scrolled sideways by keyboard. `columns`: `{name, right}`. */
export function table(caption, columns, rows) {
  const body = h("tbody", {}, rows);
  const node = h("table", {},
    h("caption", { class: "sr" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) =>
      h("th", { scope: "col", class: column.right && "right" }, column.name)))),
    body);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, node);
}

/** A cell for numbers. */
export const right = (...content) => h("td", { class: "right" }, content);

/** A button that copies a text. */
export function copyButton(label, text) {
  const node = button([icon("copy"), label], async () => {
    try {
      await navigator.clipboard.writeText(text());
      announce("Copied");
      node.classList.add("done");
    } catch {
      announce("The browser did not allow copying. Select the text and copy it.");
    }
    setTimeout(() => node.classList.remove("done"), 1500);
  });
  return node;
}

/** Saves a text as a file of the visitor. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A labelled control of a form. */
export function field(label, control, hint) {
  if (!control.id) control.id = `f-${label.toLowerCase().replace(/\W+/g, "-")}-${++fields}`;
  const about = hint && h("small", { class: "hint", id: `${control.id}-hint` }, hint);
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, about);
}

let fields = 0;

export function select(options, value) {
  const node = h("select", {}, options.map(([key, name]) => h("option", { value: key }, name)));
  if (value !== undefined) node.value = value;
  return node;
}

// -- Items ----------------------------------------------------------------------------

/** The address of a link, if it is one of the web. */
export function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/** An item's picture, or a tile with its first letter. */
export function picture(content, size = "") {
  const title = content?.title || content?.contentId || "?";
  const letter = /[\p{L}\p{N}]/u.exec(title)?.[0].toUpperCase() ?? "·";
  const kind = [...(content?.contentType ?? "")].reduce((sum, c) => sum + c.codePointAt(0), 0) % 6;
  const tile = h("span", { class: `picture ${size} k${kind}`, "aria-hidden": "true" },
    h("span", {}, letter));
  const url = webAddress(content?.imageUrl);
  if (url) {
    tile.append(h("img", {
      src: url, alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer",
      on: {
        error: (event) => event.target.remove(),
        load: (event) => event.target.classList.add("there"),
      },
    }));
  }
  return tile;
}

/** Opens the view Item for an item. */
export function openItem(id) {
  document.dispatchEvent(new CustomEvent("open-item", { detail: id }));
}

/** An item's title as a button that opens it, and its id. */
export function itemLink(id, title) {
  const name = title ? plain(title, 140) : plain(id, 80);
  return h("button", { type: "button", class: "link", on: { click: () => openItem(id) } },
    h("bdi", {}, name || "(no title)"));
}

/** The parts of a score, in the order of the legend, with what each means. */
export const PARTS = {
  collaborative: "what other users chose together with the user's items",
  tag: "liked tags that the item carries",
  semantic: "closeness to the user's taste vector",
  affinity: "closeness to the most similar liked item",
  recency: "closeness to the latest item",
  popularity: "how popular the item is",
  geo: "nearness to the place of the request",
  boost: "boosts of the request",
  aversion: "disliked tags that the item carries",
};

const colorOf = (part) => `var(--p-${part in PARTS ? part : "other"})`;

/** A spot of a color of the legend. */
export const dot = (color) => h("span", { class: "dot", "aria-hidden": "true", vars: { "--c": color } });

/** The parts of a breakdown that are not zero, in the order of the legend. */
export function partsOf(breakdown) {
  const order = Object.keys(PARTS);
  const place = (part) => (order.indexOf(part) + 1 || order.length + 1);
  return Object.entries(breakdown ?? {})
    .filter(([, value]) => Math.abs(value) > 1e-9)
    .sort(([a], [b]) => place(a) - place(b));
}

/** The scale on which all bars of a list are drawn. */
export function scaleOf(items) {
  const scale = { low: 0, high: 1e-9 };
  for (const { breakdown } of items) {
    let [low, high] = [0, 0];
    for (const value of Object.values(breakdown ?? {})) {
      if (value < 0) low -= value;
      else high += value;
    }
    scale.low = Math.max(scale.low, low);
    scale.high = Math.max(scale.high, high);
  }
  return scale;
}

/** The parts of a score as a stacked bar: what lowers it is left of the zero line. */
export function scoreBar(breakdown, scale) {
  const parts = partsOf(breakdown);
  const whole = scale.low + scale.high;
  const segment = (of) => ([part, value]) =>
    h("span", {
      class: "seg",
      title: `${plain(part, 40)} ${score(value)}`,
      vars: { "--c": colorOf(part), "--w": `${(Math.abs(value) / of) * 100}%` },
    });
  const text = parts.map(([part, value]) => `${plain(part, 40)} ${score(value)}`).join(", ");
  return h("span", { class: "stack", role: "img", "aria-label": `Parts of the score: ${text || "none"}` },
    h("span", { class: "below", vars: { "--w": `${(scale.low / whole) * 100}%` } },
      parts.filter(([, value]) => value < 0).map(segment(scale.low))),
    parts.filter(([, value]) => value > 0).map(segment(whole)));
}

/** The names and colors of the parts that occur in a list. */
export function legend(items) {
  const names = new Set(items.flatMap((item) => partsOf(item.breakdown).map(([part]) => part)));
  const all = [...Object.keys(PARTS), ...[...names].filter((name) => !(name in PARTS))];
  return h("ul", { class: "legend", "aria-label": "Parts of the score" },
    all.filter((name) => names.has(name)).map((name) =>
      h("li", { title: PARTS[name] }, dot(colorOf(name)), plain(name, 40))));
}

/** The likes and dislikes of two maps of tags as bars, the strongest first. */
export function tagBars(likes, dislikes, limit = 12) {
  const strongest = (map) =>
    Object.entries(map ?? {}).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, limit);
  const side = (name, map, kind, none) => {
    const tags = strongest(map);
    const more = Object.keys(map ?? {}).length - tags.length;
    return h("div", {}, h("h3", {}, name),
      tags.length === 0
        ? h("p", { class: "muted" }, none)
        : h("ul", { class: "bars" }, tags.map(([tag, weight]) => {
            const colon = tag.indexOf(":");
            return h("li", {},
              h("span", { class: "bar-name" },
                colon > 0 && h("span", { class: "muted" }, bdi(`${tag.slice(0, colon)} `, 30)),
                bdi(tag.slice(colon + 1), 48)),
              bar(weight, `--m-${kind}`), h("span", { class: "num" }, weight.toFixed(2)));
          })),
      more > 0 && h("p", { class: "muted" }, `and ${count(more)} more`));
  };
  return h("div", { class: "two" },
    side("Liked tags", likes, "like", "None: no liked item carries a tag."),
    side("Disliked tags", dislikes, "dislike", "None."));
}

/** The tags of an item. */
export function tagList(tags, limit = 24) {
  if (!tags?.length) return h("p", { class: "muted" }, "No tags.");
  return h("ul", { class: "tags", "aria-label": "Tags" },
    tags.slice(0, limit).map((tag) => h("li", {},
      tag.facet && h("span", { class: "muted" }, bdi(tag.facet, 30), " "), bdi(tag.label, 60),
      tag.weight !== undefined && tag.weight !== 1 && h("span", { class: "num muted" }, ` ${tag.weight}`))),
    tags.length > limit && h("li", { class: "muted" }, `${tags.length - limit} more`));
}

/** Shows the elements of a long list page by page: `build(element, index)` makes one. */
export function paged(list, elements, build, size = 100) {
  const more = h("div", { class: "more" });
  let shown = 0;
  async function next(focus) {
    const until = Math.min(shown + size, elements.length);
    const first = shown;
    while (shown < until) {
      await breathe();
      const part = elements.slice(shown, Math.min(shown + 5, until));
      list.append(...part.map((one, i) => build(one, shown + i)));
      shown += part.length;
    }
    if (focus) {
      const at = list.children[first];
      at?.setAttribute("tabindex", "-1");
      at?.focus();
    }
    fill(more, shown < elements.length && [
      button(`Show ${few(Math.min(size, elements.length - shown), "more", "more")}`, () => next(true)),
      h("span", { class: "muted" }, `${count(shown)} of ${count(elements.length)}`),
    ]);
  }
  next(false);
  return more;
}
