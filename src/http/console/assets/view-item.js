// Item: its content, what its users did, its neighbors, and similar items.

import { Latest, catalog, recommender } from "./api.js";
import { announce, bdi, count, fill, h, percent, plain } from "./dom.js";
import { listOf } from "./item-list.js";
import { bar, empty, failure, figure, figures, itemLink, panel, picture, show, tagList, webAddress } from "./parts.js";
import { state } from "./state.js";

export const title = "Item";

const settle = (promise) => promise.then((value) => ({ value }), (error) => ({ error }));

function facts(item) {
  const rows = [
    ["Content type", item.contentType && bdi(item.contentType, 60)],
    ["Words", item.wordCount > 0 && count(item.wordCount)],
    ["Years", item.years?.length > 0 && item.years.slice(0, 8).join(", ")],
    ["Place", item.location && `${(item.location.latitude ?? 0).toFixed(4)}, ${(item.location.longitude ?? 0).toFixed(4)}`],
    ["Vector", item.vector?.length > 0 ? `${item.vector.length} numbers` : "none: not found by similarity"],
    ["Page", webAddress(item.publicUrl) && h("a", { href: webAddress(item.publicUrl), target: "_blank", rel: "noopener noreferrer" }, plain(item.publicUrl, 60))],
    ...Object.entries(item.attributes ?? {}).slice(0, 30).map(([key, value]) =>
      [plain(key, 40), bdi(typeof value === "string" ? value : JSON.stringify(value), 120)]),
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [
    h("dt", {}, name), h("dd", {}, value)]));
}

export function create() {
  const latest = new Latest();
  let drawing = new AbortController();
  const input = h("input", { type: "text", id: "item-id", autocomplete: "off", spellcheck: "false", placeholder: "item id" });
  const body = h("div", { class: "body" });

  function lookAt(id) {
    state.item = id;
    input.value = id;
    drawing.abort();
    drawing = new AbortController();
    if (id === "") {
      latest.stop();
      fill(body, empty("No item yet", h("p", { class: "muted" }, "Enter an item's id, or choose an item in “Try a user”.")));
      return;
    }
    show(body, latest, async (signal) => {
      const [got, about, similar] = await Promise.all([
        catalog("GetItems", { contentIds: [id] }, signal),
        settle(recommender("GetItemSignals", { contentId: id, limit: 20 }, signal)),
        settle(recommender("SimilarItems", { contentId: id, limit: 10, includeContent: true }, signal)),
      ]);
      const item = got.items?.[0];
      const neighbors = about.value?.neighbors ?? [];
      const names = await settle(neighbors.length > 0
        ? catalog("GetItems", { contentIds: neighbors.map((one) => one.contentId) }, signal) : Promise.resolve({}));
      const titles = new Map((names.value?.items ?? []).map((one) => [one.contentId, one.title]));
      announce(item ? plain(item.title, 100) : "Item not found");
      return [
        h("div", { class: "grid" },
          panel("Content", {}, item ? content(item) : empty("The catalogue lacks this item",
            h("p", { class: "muted" }, "Events may still name it. Import it, or compare its id with those of the catalogue."))),
          panel("What users did", {}, about.error ? failure(about.error) : behavior(about.value, titles))),
        panel("Similar items", {}, similarTo(similar, drawing.signal)),
      ];
    }, () => lookAt(id), 8);
  }

  const content = (item) => [
    h("div", { class: "item-hero" }, picture(item, "large"),
      h("div", {}, h("p", { class: "hero-title" }, bdi(item.title || "(no title)", 300)),
        h("p", { class: "muted" }, bdi(item.contentId, 120, { class: "mono clip" })))),
    item.text && h("p", { class: "text" }, bdi(item.text, 1200)),
    h("h3", {}, "Tags"), tagList(item.tags, 60), facts(item),
  ];

  const behavior = (about, titles) => [
    figures(figure("recent users", count(about.audienceSize)),
      figure("popularity", percent(about.popularity ?? 0)), figure("trending", percent(about.trending ?? 0))),
    h("p", { class: "muted small" }, "Popularity is the share of the most popular item's: over weeks, and trending over days. Users are counted, never named."),
    h("h3", {}, "Often chosen together with"),
    (about.neighbors ?? []).length === 0
      ? h("p", { class: "muted" }, (about.audienceSize ?? 0) < 5
        ? "Not shown for items of fewer than 5 users."
        : "None yet: neighbors follow within a minute of what users do.")
      : h("ul", { class: "bars" }, about.neighbors.map((one) => h("li", {},
        h("span", { class: "bar-name" }, itemLink(one.contentId, titles.get(one.contentId))),
        bar(one.weight), h("span", { class: "num" }, (one.weight ?? 0).toFixed(2))))),
  ];

  function similarTo({ value, error }, signal) {
    if (error?.code === "not_found") return empty("Nothing to compare: the catalogue lacks this item");
    if (error) return failure(error);
    return listOf(value, { signal });
  }

  const node = h("div", { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title),
      h("form", {
        class: "search", role: "search",
        on: {
          submit: (event) => {
            event.preventDefault();
            lookAt(input.value.trim());
          },
        },
      }, h("label", { for: "item-id" }, "Item"), input, h("button", { class: "button primary", type: "submit" }, "Look"))),
    body);
  let shown;
  return {
    node,
    enter() {
      if (shown !== state.item) lookAt(state.item);
      shown = state.item;
    },
    open(id) {
      shown = id;
      lookAt(id);
    },
    leave() {},
  };
}
