// What a user did: the events as a timeline and as a table, and what they say of items.

import { bdi, button, count, dayOf, few, fill, h, plain, s, when } from "./dom.js";
import { bar, callout, chip, dot, empty, itemLink, paged, table } from "./parts.js";

/** What an event says, with its color's name and a word for people. */
export const MEANINGS = {
  LIKE: ["like", "like"],
  DISLIKE: ["dislike", "dislike"],
  VIEW: ["view", "view"],
  IMPRESSION: ["impression", "displayed"],
  PROFILE: ["profile", "answer"],
  SEARCH: ["search", "search"],
  NONE: ["none", "nothing"],
};

/** The short name of a meaning, whether it comes as the API's enum or in lower case. */
export const meaningOf = (text) => {
  const name = String(text ?? "NONE").toUpperCase().replace(/^EVENT_MEANING_/, "");
  return name in MEANINGS ? name : "NONE";
};

export const meaningChip = (meaning) => {
  const [kind, name] = MEANINGS[meaningOf(meaning)];
  return chip(name, `m-${kind}`);
};

const BINS = 60;

/** The events over time, in at most 60 columns, stacked by meaning. */
export function timeline(events) {
  const times = events.map((event) => Date.parse(event.time)).filter(Number.isFinite);
  if (times.length === 0) return null;
  const first = times.reduce((a, b) => Math.min(a, b));
  const last = times.reduce((a, b) => Math.max(a, b));
  const width = Math.max((last - first) / BINS, 60_000);
  const names = Object.keys(MEANINGS);
  const bins = Array.from({ length: BINS }, () => names.map(() => 0));
  for (const event of events) {
    const time = Date.parse(event.time);
    if (!Number.isFinite(time)) continue;
    const at = Math.min(BINS - 1, Math.floor((time - first) / width));
    bins[at][names.indexOf(meaningOf(event.meaning))] += 1;
  }
  const sums = bins.map((bin) => bin.reduce((a, b) => a + b, 0));
  const most = Math.max(...sums);
  const columns = bins.flatMap((bin, x) => {
    let below = 0;
    return bin.flatMap((n, i) => {
      if (n === 0) return [];
      const height = (n / most) * 56;
      below += height;
      return s("rect", {
        x: x * 10 + 1, width: 8, y: 60 - below, height: Math.max(height, 1),
        vars: { "--c": `var(--m-${MEANINGS[names[i]][0]})` },
      }, s("title", {}, `${dayOf(first + x * width)}: ${count(n)} ${MEANINGS[names[i]][1]}`));
    });
  });
  const used = names.filter((_, i) => bins.some((bin) => bin[i] > 0));
  const start = new Date(first).toISOString().slice(0, 16).replace("T", " ");
  const end = new Date(last).toISOString().slice(0, 16).replace("T", " ");
  return h("figure", { class: "timeline" },
    s("svg", {
      viewBox: "0 0 600 62", preserveAspectRatio: "none", role: "img",
      "aria-label": `${few(times.length, "event")} from ${start} to ${end} UTC, at most ${most} in one column`,
    }, s("path", { d: "M0 60.5H600", class: "axis" }), columns),
    h("figcaption", {}, h("span", {}, `${start} UTC`),
      h("ul", { class: "legend" }, used.map((name) => h("li", {},
        dot(`var(--m-${MEANINGS[name][0]})`), MEANINGS[name][1]))),
      h("span", {}, end)));
}

function eventRow(event, titles) {
  const facts = [
    event.query_text && ["“", bdi(event.query_text, 60), "”"],
    event.dwell_seconds !== undefined && event.dwell_seconds !== null && `${Math.round(event.dwell_seconds)} s`,
    event.end_reason && `ended: ${plain(event.end_reason, 40).replaceAll("_", " ")}`,
    event.rating !== undefined && event.rating !== null && `rated ${event.rating}`,
    event.impressions > 0 && few(event.impressions, "item displayed", "items displayed"),
  ].filter(Boolean);
  return h("tr", {},
    h("td", { class: "nowrap" }, when(event.time)),
    h("td", {}, bdi(event.event_type, 60, { class: "mono clip" })),
    h("td", {}, meaningChip(event.meaning)),
    h("td", {}, event.content_id && itemLink(event.content_id, titles.get(event.content_id))),
    h("td", { class: "muted" }, facts.map((fact, i) => [i > 0 && ", ", fact])));
}

/** The events as a table of pages, with a choice of meaning. */
export function eventTable(events, titles) {
  const node = h("div", {});
  const counts = new Map();
  for (const event of events) {
    const meaning = meaningOf(event.meaning);
    counts.set(meaning, (counts.get(meaning) ?? 0) + 1);
  }
  let chosen = null;
  const choices = h("div", { class: "row", role: "group", "aria-label": "Events to show" });
  function draw() {
    const shown = chosen ? events.filter((event) => meaningOf(event.meaning) === chosen) : events;
    const columns = ["Time", "Event type", "Meaning", "Item", "Facts"].map((name) => ({ name }));
    const part = table("Events, newest first", columns, []);
    const body = part.querySelector("tbody");
    fill(choices, [[null, "All", events.length], ...[...counts].map(([m, n]) => [m, MEANINGS[m][1], n])].map(
      ([meaning, name, n]) => button([name, " ", h("span", { class: "num muted" }, count(n))], () => {
        chosen = meaning;
        draw();
        choices.querySelector("[aria-pressed=true]").focus();
      }, { class: "button small", "aria-pressed": String(meaning === chosen) })));
    fill(node, choices, part, paged(body, shown, (event) => eventRow(event, titles), 50));
  }
  draw();
  return node;
}

const same = (a, b) => Math.abs(a - b) < 1e-6;

/** What one event says explicitly of its item: by its type, or by its rating. */
const explicitOf = (event) =>
  event.rating !== undefined && event.rating !== null
    ? Math.max(-1, Math.min(1, (event.rating - 3) / 2))
    : event.rule?.strength;

/** The event that decided over an item, and why, in words. */
export function decision(item) {
  const parts = item.behavior ?? {};
  const byType = item.explicit !== null && item.explicit !== undefined &&
    (item.explicit < 0 || item.explicit >= (parts.total ?? 0));
  const events = [...(item.events ?? [])].sort((a, b) => (a.time < b.time ? -1 : 1));
  if (byType) {
    const event = events.findLast((one) => {
      const says = explicitOf(one);
      return says !== undefined && same(says, item.explicit);
    });
    const what = event?.rating !== undefined && event?.rating !== null
      ? `the rating ${event.rating}` : "its event type";
    return { event, why: [`${what} is worth `, h("b", { class: "num" }, signed(item.explicit))] };
  }
  const event = events.findLast((one) => one.dwell_seconds !== undefined && one.dwell_seconds !== null &&
    same(one.dwell_seconds, parts.dwell_seconds)) ?? events.findLast((one) => one.end_reason) ?? events.at(-1);
  const terms = [
    ["dwell time", parts.dwell, parts.dwell_seconds !== undefined && parts.dwell_seconds !== null
      ? `${Math.round(parts.dwell_seconds)} s of ${Math.round(parts.reading_seconds)} s reading` : null],
    ["how it ended", parts.completion],
    ["visits", parts.revisit, few(parts.visits ?? 0, "visit")],
    ["rating", parts.survey],
  ].filter(([, value]) => value);
  return {
    event,
    why: ["behavior ", h("b", { class: "num" }, signed(parts.total ?? 0)), terms.length > 0 && [": ",
      terms.map(([name, value, note], i) => [i > 0 && ", ", `${name} `,
        h("span", { class: "num" }, signed(value)), note && h("span", { class: "muted" }, ` (${note})`)])]],
  };
}

export const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

const VERDICTS = { liked: ["like", "liked"], disliked: ["dislike", "disliked"], neutral: ["none", "neutral"] };

function verdictRow(item, strongest) {
  const [kind, name] = VERDICTS[item.opinion] ?? VERDICTS.neutral;
  const { event, why } = decision(item);
  return h("li", { class: "verdict" },
    h("div", { class: "verdict-head" }, chip(name, `m-${kind}`), itemLink(item.content_id, item.title),
      item.in_catalog === false && chip("not in the catalogue", "warn"),
      item.done && chip("done"),
      h("span", { class: "spacer" }), bar((item.weight ?? 0) / strongest, `--m-${kind}`),
      h("span", { class: "num" }, (item.weight ?? 0).toFixed(2))),
    h("p", { class: "muted small" },
      event ? [h("span", { class: "decider" }, bdi(event.event_type, 60, { class: "mono clip" }), " ", when(event.time)), ": "] : null,
      why, item.opinion === "neutral"
        ? "; between the thresholds, so it is neither liked nor disliked"
        : item.decay < 0.995 && [", × decay ", h("span", { class: "num" }, item.decay.toFixed(2))]));
}

/** For each item, whether it is liked, and the event that made it so. */
export function verdicts(items) {
  if (items.length === 0) return empty("No event names an item");
  const strongest = items.reduce((most, item) => Math.max(most, item.weight ?? 0), 1e-9);
  const list = h("ul", { class: "verdicts", "aria-label": "Items, and the events that decided" });
  return [list, paged(list, items, (item) => verdictRow(item, strongest), 30)];
}

/** What to say if no event of the user makes an item liked. */
export function adviceFor(user) {
  if (!user.is_cold || user.event_count === 0) return null;
  const data = () => h("a", { href: "#data" }, "what each event type means");
  const types = [...new Set(user.events.filter((event) => meaningOf(event.meaning) === "NONE")
    .map((event) => plain(event.event_type, 60)))].slice(0, 6);
  if (user.items.length === 0) {
    return callout("warn", "No event names an item", h("p", {},
      "Send the item's id in content_id. See ", data(), "."));
  }
  return callout("warn", "No event makes an item liked", h("p", {},
    "All events of items are views, and none was long enough. Purchases and likes need an event type of the ranking file's [[events]]. See ", data(), ".",
    types.length > 0 && [" These types mean nothing: ", types.map((type) => h("code", {}, type, " "))]));
}
