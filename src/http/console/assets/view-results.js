// Results: what users did with the lists of each placement and variant, with intervals.

import { Latest, look } from "./api.js";
import { bdi, button, count, fill, h } from "./dom.js";
import { MEANINGS } from "./history.js";
import { callout, empty, panel, right, select, show, table } from "./parts.js";

export const title = "Results";

/** Wilson's interval of 95 % of a rate. */
export function interval(hits, of) {
  if (of === 0) return { rate: 0, low: 0, high: 1 };
  // Events may outnumber the items that were served since start.
  const n = Math.max(of, hits);
  const z = 1.959964;
  const p = hits / n;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return { rate: p, low: Math.max(0, (middle - half) / scale), high: Math.min(1, (middle + half) / scale) };
}

const pct = (share) => `${(share * 100).toFixed(share < 0.1 ? 2 : 1)} %`;

/** An interval as a line with a dot, on a scale of 0 to `most`. */
function whisker({ rate, low, high }, most) {
  const at = (value) => `${Math.min(1, value / most) * 100}%`;
  return h("span", { class: "whisker", "aria-hidden": "true" },
    h("span", { class: "reach", vars: { "--x": at(low), "--w": at(high - low) } }),
    h("span", { class: "point", vars: { "--x": at(rate) } }));
}

export function create() {
  const latest = new Latest();
  const body = h("div", { class: "body" });
  const meaning = select(Object.entries(MEANINGS).filter(([key]) => ["LIKE", "VIEW", "DISLIKE"].includes(key))
    .map(([key, [, name]]) => [key, `${name}s`]), "LIKE");
  meaning.id = "result-meaning";
  let reply = null;

  function rows() {
    const all = (reply?.placements ?? []).map((one) => ({
      ...one, hits: one.events?.[meaning.value] ?? 0,
      ...interval(one.events?.[meaning.value] ?? 0, one.itemsServed ?? 0),
    }));
    const most = Math.max(...all.filter((one) => one.itemsServed > 0).map((one) => one.high), 1e-6);
    const name = MEANINGS[meaning.value][1];
    return table(`Rate of ${name}s per item shown`, [{ name: "Placement" }, { name: "Variant" },
      { name: "Items shown", right: true }, { name: `${name}s`, right: true }, { name: "Rate", right: true }, { name: "95 % interval" }, { name: "Chart" }],
    all.map((one) => h("tr", {},
      h("td", {}, bdi(one.placement || "(none)", 40)),
      h("td", {}, one.experiment && h("span", { class: "muted" }, bdi(`${one.experiment} `, 40)), bdi(one.variant || "–", 40)),
      right(count(one.itemsServed)), right(count(one.hits)), right(one.itemsServed ? pct(one.rate) : "–"),
      h("td", { class: "num nowrap" }, one.itemsServed ? `${pct(one.low)} to ${pct(one.high)}` : "no item shown"),
      h("td", { class: "wide-cell" }, one.itemsServed ? whisker(one, most) : null))));
  }

  function draw() {
    if ((reply.placements ?? []).length === 0) {
      return [panel("Placements and variants", {}, empty("No placement has served a list",
        h("p", { class: "muted" }, "Name the places of your lists in the ranking file, and send the name as ", h("code", {}, "placement"), " of the request:"),
        h("pre", { class: "json" }, "[[placements]]\nname = \"home\"")))];
    }
    const box = h("div", {}, rows());
    meaning.onchange = () => fill(box, rows());
    return [
      reply.attribution === false && callout("warn", "Events are not attributed to lists",
        h("p", {}, "Set ", h("code", {}, "RECSYS_REQUEST_ID_KEY_FILE"), ", and send each list's request_id back in the events that it led to.")),
      panel("Placements and variants", {
        aside: h("div", { class: "row" }, h("label", { for: meaning.id }, "Count"), meaning),
        note: "What this process served since its start. Other processes have counts of their own: the metrics have the sums.",
      }, box),
      callout("info", "How to read it", h("p", {},
        "Intervals that do not overlap are a difference. Where they do, wait for more events: do not stop at the first good day. Shares of items shown that differ from the variants' shares mean that something is wrong with the split.")),
    ];
  }

  const refresh = () => show(body, latest, async (signal) => {
    reply = await look("results", signal);
    return draw();
  }, refresh, 6);
  const node = h("div", { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title), button("Refresh", refresh)), body);
  return { node, enter: () => void refresh(), leave: () => latest.stop() };
}

