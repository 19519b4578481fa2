// Ranking: the weights beside today's list and the list with other weights, and the
// ranking file that sets them.

import { Latest, ask, look } from "./api.js";
import { announce, appendAll, button, fill, h, icon, plain, score } from "./dom.js";
import {
  PARTS, callout, chip, dot, download, empty, failure, field, itemLink, legend, loading, panel, picture, scaleOf, scoreBar, show,
} from "./parts.js";
import { remember, state } from "./state.js";

export const title = "Ranking";

/** What can be changed besides the weights of parts: key, name, bounds, what it does. */
const OTHERS = [
  ["mmrLambda", "relevance or variety", 0, 1, "1 ranks by score alone; lower values spread the list over unlike items"],
  ["explorationProbability", "exploration", 0, 1, "share of lists with one item outside of the user's taste"],
];

/** What people want, and the change that does it. */
const GOALS = [
  ["More popular items", "popularity", (w) => w + 0.3],
  ["More of what others chose", "collaborative", (w) => (w === 0 ? 1 : w * 1.5)],
  ["More of the liked tags", "tag", (w) => w + 0.3],
  ["More like the latest item", "recency", (w) => w + 0.3],
  ["Less of what is disliked", "aversion", (w) => w - 0.3],
  ["More variety", "mmrLambda", (w) => Math.max(0, w - 0.2)],
];

const round = (value) => Math.round(value * 1000) / 1000;

/** Where a setting stands in the ranking file. */
const PLACES = {
  mmrLambda: ["", "mmr_lambda"],
  explorationProbability: ["exploration", "probability"],
};
const placeOf = (key) => PLACES[key] ?? ["fusion", key];

/** The settings as one flat map. */
const flatten = (ranking) => ({
  ...ranking.fusion,
  mmrLambda: ranking.mmrLambda,
  explorationProbability: ranking.exploration?.enabled === false ? 0 : ranking.exploration?.probability,
});

export function create() {
  const [settings, todays, previews] = [new Latest(), new Latest(), new Latest()];
  let ranking = null;
  let before = {};
  let now = {};
  let today = null;
  let waiting = 0;
  let drawing = new AbortController();
  const controls = new Map();
  const [body, sliders, oldBox, newBox] = [h("div", {}), h("div", { class: "sliders" }), h("div", {}), h("div", {})];
  const changed = h("div", { class: "changes" });
  const user = h("input", { type: "text", id: "ranking-user", autocomplete: "off", spellcheck: "false", placeholder: "user id, or empty for nobody" });
  const limit = h("input", { type: "number", min: 1, max: 100, step: 1, value: "10" });

  const size = () => Math.min(100, Math.max(1, Number(limit.value) || 10));
  /** The list that the server makes with a ranking. One seed, so that only the weights differ. */
  const made = (ranking, signal) => {
    const request = { limit: size(), includeContent: true, seed: 1 };
    if (state.user !== "") request.userId = state.user;
    return ask("preview", { request, ranking }, signal);
  };
  const changes = () => Object.fromEntries(Object.entries(now).filter(([key, value]) => value !== before[key]));

  function slider(key, name, low, high, about) {
    const id = `w-${key}`;
    const range = h("input", { type: "range", id, min: low, max: high, step: 0.01, value: now[key], "aria-describedby": `${id}-about` });
    const exact = h("input", { type: "number", class: "exact", step: 0.01, value: now[key], "aria-label": `${name}, exact value` });
    const node = h("div", { class: "slider" },
      h("div", { class: "row" },
        h("label", { for: id }, key in PARTS && dot(`var(--p-${key})`), plain(name, 40)),
        h("span", { class: "spacer" }), exact),
      range, h("small", { class: "hint", id: `${id}-about` }, about, h("span", { class: "was" })));
    function set(value, from) {
      if (!Number.isFinite(value)) return;
      now[key] = round(value);
      if (value < Number(range.min)) range.min = value;
      if (value > Number(range.max)) range.max = value;
      if (from !== range) range.value = now[key];
      if (from !== exact) exact.value = now[key];
      const differs = now[key] !== before[key];
      node.classList.toggle("changed", differs);
      node.querySelector(".was").textContent = differs ? ` · was ${before[key]}` : "";
      update();
    }
    range.addEventListener("input", () => set(Number(range.value), range));
    exact.addEventListener("input", () => exact.value !== "" && set(Number(exact.value), exact));
    controls.set(key, { set, node });
    return node;
  }

  function drawSliders() {
    controls.clear();
    const weights = Object.keys(PARTS).filter((part) => part in ranking.fusion);
    const more = Object.keys(ranking.fusion).filter((part) => !(part in PARTS));
    fill(sliders,
      h("div", { class: "goals", role: "group", "aria-label": "What should change" },
        GOALS.filter(([, key]) => now[key] !== undefined).map(([name, key, change]) => button(name, () => {
          const control = controls.get(key);
          control.set(change(now[key]));
          control.node.scrollIntoView({ block: "nearest" });
          announce(`${key} is now ${now[key]}`);
        }, { class: "chip tap" }))),
      [...weights, ...more].map((part) => {
        const value = before[part];
        const [low, high] = part === "aversion" ? [Math.min(-1, value * 2), 0] : [0, Math.max(1, Math.abs(value) * 2)];
        return slider(part, part, low, high, PARTS[part] ?? "");
      }),
      h("h3", {}, "Order of the list"),
      OTHERS.filter(([key]) => before[key] !== undefined).map(([key, ...rest]) => slider(key, ...rest)),
      h("div", { class: "row actions" },
        button([icon("down"), "Download the ranking file"], save, { class: "button primary" }),
        button("Reset", () => {
          for (const [key, control] of controls) control.set(before[key]);
        })),
      changed);
    for (const [key, control] of controls) control.set(before[key]);
  }

  /** The change as the server takes it. */
  const override = () => {
    const all = changes();
    const fusion = Object.fromEntries(Object.entries(all).filter(([key]) => key in ranking.fusion));
    const result = {};
    if (Object.keys(fusion).length > 0) result.fusion = fusion;
    if (all.mmrLambda !== undefined) result.mmrLambda = all.mmrLambda;
    if (all.explorationProbability !== undefined) {
      result.exploration = { enabled: all.explorationProbability > 0, probability: all.explorationProbability };
    }
    return result;
  };

  async function save() {
    try {
      const reply = await ask("ranking", override());
      if (reply.violations?.length > 0) {
        fill(changed, callout("bad", "The server refuses these values", h("ul", { class: "plain" },
          reply.violations.map((one) => h("li", {}, plain(one, 200))))));
        return;
      }
      download("ranking.toml", reply.toml, "application/toml");
      announce("The ranking file is downloaded");
    } catch (error) {
      fill(changed, failure(error, save));
    }
  }

  function update() {
    const all = Object.entries(changes());
    fill(changed, all.length === 0
      ? h("p", { class: "muted small" }, "Move a slider: the list at the right follows. Nothing changes for anybody until a server runs with the file.")
      : [h("ul", { class: "diff", "aria-label": "Changes" }, all.map(([key, value]) => h("li", {},
        h("code", {}, placeOf(key).filter(Boolean).join(".")), " ", h("span", { class: "num" }, `${before[key]} → ${value}`)))),
      h("p", { class: "muted small" }, "Start the server with ", h("code", {}, "RECSYS_RANKING_PATH=ranking.toml"), ". Measure it first: ",
        h("code", {}, "recsys eval --ranking ranking.toml"), ".")]);
    clearTimeout(waiting);
    waiting = setTimeout(preview, 120);
  }

  function drawList(node, items, places) {
    if (items.length === 0) return fill(node, empty("The list is empty"));
    const scale = scaleOf(items);
    const list = h("ol", { class: "items slim" });
    appendAll(list, items, (item) => {
      const was = places?.get(item.contentId);
      const moved = was === undefined ? 0 : was - item.rank;
      const text = !places ? null : was === undefined ? chip("new", "good")
        : moved === 0 ? h("span", { class: "muted", "aria-label": "unchanged" }, "=")
          : h("span", { class: moved > 0 ? "up" : "dn", "aria-label": `${Math.abs(moved)} ${moved > 0 ? "up" : "down"}` }, `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`);
      return h("li", { class: "item" }, h("span", { class: "rank num" }, item.rank),
        picture(item.content ?? { contentId: item.contentId }, "small"),
        h("div", { class: "item-main" }, h("div", { class: "item-title" }, itemLink(item.contentId, item.content?.title), h("span", { class: "moved num" }, text)),
          h("div", { class: "item-score" }, scoreBar(item.breakdown, scale), h("span", { class: "num total" }, score(item.score)))));
    }, drawing.signal);
    fill(node, legend(items), list);
  }

  async function refreshToday() {
    remember(user.value);
    today = null;
    const done = await show(oldBox, todays, async (signal) => {
      today = await made({}, signal);
      return [];
    }, refreshToday, 8);
    if (!done) {
      if (today === null) fill(newBox, empty("No list to compare with"));
      return;
    }
    drawList(oldBox, today.items ?? []);
    preview();
  }

  async function preview() {
    if (!today) return;
    drawing.abort();
    drawing = new AbortController();
    const places = new Map((today.items ?? []).map((item) => [item.contentId, item.rank]));
    if (Object.keys(changes()).length === 0) {
      previews.stop();
      drawList(newBox, today.items ?? [], places);
      return;
    }
    try {
      const reply = await previews.run((signal) => made(override(), signal));
      if (reply === undefined) return;
      drawList(newBox, reply.items ?? [], places);
      const come = (reply.items ?? []).filter((item) => !places.has(item.contentId)).length;
      if ((reply.items ?? []).every((item) => places.get(item.contentId) === item.rank)) {
        newBox.prepend(h("p", { class: "note" }, "The same list: this change moves no item."));
      }
      announce(`The new list has ${come} other items`);
    } catch (error) {
      fill(newBox, failure(error, preview));
    }
  }

  function refresh() {
    fill(newBox, loading(8));
    return show(body, settings, async (signal) => {
      ranking = await look("ranking", signal);
      before = flatten(ranking);
      now = { ...before };
      const result = layout();
      drawSliders();
      refreshToday();
      return result;
    }, refresh, 8);
  }

  const layout = () => h("div", { class: "columns" },
    panel("Weights", { class: "panel side", aside: ranking.preset && chip(`preset ${plain(ranking.preset, 30)}`) }, sliders),
    h("div", { class: "grid even" }, panel("Today's list", {}, oldBox), panel("The new list", {}, newBox)));

  const node = h("div", { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title),
      h("form", {
        class: "search", role: "search",
        on: {
          submit: (event) => {
            event.preventDefault();
            refreshToday();
          },
        },
      }, h("label", { for: "ranking-user" }, "User"), user, field("Items", limit), h("button", { class: "button primary", type: "submit" }, "Compare"))),
    body);
  return {
    node,
    enter() {
      if (user.value !== state.user || ranking === null) {
        user.value = state.user;
        if (ranking === null) refresh();
        else refreshToday();
      }
    },
    leave() {},
  };
}

