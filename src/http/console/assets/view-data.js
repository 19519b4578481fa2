// Data: what the items and events hold, and what to do about what is missing.

import { Latest, look } from "./api.js";
import { bdi, button, compact, count, few, h, percent, plain } from "./dom.js";
import { meaningChip, meaningOf } from "./history.js";
import { bar, callout, chip, empty, figure, figures, panel, right, show, table } from "./parts.js";

export const title = "Data";

const COLD_NAMES = {
  no_user: "for nobody", unknown_user: "unknown user", no_positive_events: "no event makes an item liked",
  user_state_unavailable: "model not readable", catalog_without_features: "items without tags and vectors",
};

const code = (text) => h("code", {}, text);

/** What is wrong with the data, the worst first: `[kind, title, advice]`. */
export function findings({ items = {}, events = {}, lists = {}, associations = {} }) {
  const all = [];
  const add = (kind, name, ...advice) => all.push([kind, name, advice]);
  const whole = items.total;
  const types = events.types ?? [];
  const share = (part) => (whole ? (part ?? 0) / whole : 0);
  if (!items.total) {
    add("bad", "The catalogue holds no items", "Every list is empty. Import one: ", code("recsys catalog import"), ".");
  } else {
    const [tags, vectors] = [share(items.withTags), share(items.withVector)];
    const others = associations.enabled && events.total > 0;
    if (tags === 0 && vectors === 0) {
      add("bad",
        others ? "No item has tags or vectors: lists are random until users have items in common" : "Lists are random: no item has tags or vectors",
        "Nothing connects one item with another by content. Send ", code("tags"), " (genres, categories, brands) or ",
        code("vector"), " with the items; names such as ", code("genres"), " and ", code("categories"), " are taken as tags.",
        others && " What other users did is all that lists can use.");
    } else {
      if (tags < 0.5) {
        add("warn", `Only ${percent(tags)} of the items have tags`,
          "Items without tags cannot match what a user likes, and get no reason in words. Send ", code("tags"), ".");
      }
      if (vectors === 0) {
        add("info", "No item has a vector", "Lists work without; with embeddings of the texts in ", code("vector"), " similar items are found that share no tag.");
      } else if (vectors < 0.9) {
        add("warn", `${percent(1 - vectors)} of the items have no vector`, "They are not found by similarity. Send ", code("vector"), " with them.");
      }
    }
    if (share(items.withTitle) < 0.9) {
      add("warn", `${percent(1 - share(items.withTitle))} of the items have no title`, "Reasons and this page show ids instead. Send ", code("title"), ".");
    }
  }
  const said = types.filter((type) => meaningOf(type.meaning) !== "NONE");
  const nothing = types.filter((type) => meaningOf(type.meaning) === "NONE");
  const sum = (of) => of.reduce((total, type) => total + (type.count ?? 0), 0);
  const total = events.total || sum(types);
  if (total === 0) {
    add("warn", "No event arrived yet", "Send what users do with IngestEvent, or import a log: ", code("recsys events import"), ".");
  } else {
    if (sum(nothing) > 0) {
      const worst = sum(nothing) / total;
      add(worst > 0.5 ? "bad" : "warn", `${percent(sum(nothing), total)} of the events mean nothing`,
        "They name no item, impression, answer or query: ", nothing.slice(0, 5).map((type) => [code(plain(type.eventType, 60)), " "]),
        ". Put the item's id in ", code("content_id"), ", or do not send them.");
    }
    const liked = said.filter((type) => meaningOf(type.meaning) === "LIKE");
    const weak = said.filter((type) => meaningOf(type.meaning) === "VIEW" && !type.knownType && type.knownType !== undefined);
    if (sum(liked) === 0) {
      add("warn", "No event type makes an item liked by itself",
        "Only long views do. Purchases, carts and likes need a type that the ranking file knows: ", code("purchase"), " ", code("add_to_cart"), " ", code("like"),
        ", or an entry of yours in its ", code("[[events]]"), ".");
    }
    if (weak.length > 0) {
      add("info", `${few(weak.length, "event type")} unknown to the ranking file`,
        weak.slice(0, 5).map((type) => [code(plain(type.eventType, 60)), " "]),
        "count as mere views. If one means more, give it a strength in ", code("[[events]]"), ".");
    }
    const unknown = types.reduce((n, type) => n + (type.unknownItem ?? 0), 0);
    const naming = types.reduce((n, type) => n + (type.recentItems ?? 0), 0);
    if (naming > 0 && unknown / naming > 0.02) {
      add(unknown / naming > 0.5 ? "bad" : "warn", `${percent(unknown, naming)} of the items that events name are not in the catalogue`,
        "Compare the ids of events and items, such as ", code("77"), " and ", code("content_77"), ", or import the missing items.");
    }
  }
  if (lists.total > 0 && (lists.cold ?? 0) / lists.total > 0.5) {
    add("info", `${percent(lists.cold, lists.total)} of the lists are cold`, "They show what is popular, or a sample, since nothing is liked. See the reasons below.");
  }
  if (associations.enabled === false) {
    add("info", "Associations are off", "Lists do not use what other users did. Set ", code("associations.enabled"), " in the ranking file.");
  }
  const order = { bad: 0, warn: 1, info: 2 };
  return all.sort(([a], [b]) => order[a] - order[b]);
}

function coverage(items) {
  const whole = items.total || 0;
  const rows = [["title", items.withTitle], ["text", items.withText], ["tags", items.withTags],
    ["vector", items.withVector], ["picture", items.withImage]];
  return [
    figures(figure("items", count(whole), items.isSample && " or more"),
      items.vectorSize > 0 && figure("numbers in a vector", count(items.vectorSize))),
    items.isSample && h("p", { class: "note" }, `Shares of a sample of ${few(whole, "item")}.`),
    h("ul", { class: "bars" }, rows.filter(([, n]) => n !== undefined).map(([name, n]) => h("li", {},
      h("span", { class: "bar-name" }, `with ${name}`), bar(whole ? n / whole : 0, whole && n / whole < 0.5 ? "--p-semantic" : "--accent"),
      h("span", { class: "num" }, percent(n, whole))))),
    counted("Content types", items.contentTypes), counted("Facets of tags", items.facets),
  ];
}

function counted(name, map) {
  const all = Object.entries(map ?? {}).sort(([, a], [, b]) => b - a);
  if (all.length === 0) return null;
  return [h("h3", {}, name), h("ul", { class: "tags" }, all.slice(0, 16).map(([key, n]) => h("li", {},
    key === "" ? "(none)" : bdi(key, 40), h("span", { class: "num muted" }, ` ${compact(n)}`))),
  all.length > 16 && h("li", { class: "muted" }, `${all.length - 16} more`))];
}

function eventTypes(events) {
  const types = events.types ?? [];
  if (types.length === 0) return empty("No event arrived yet", h("p", { class: "muted" }, "Types of events appear here as they arrive."));
  const total = events.total || types.reduce((sum, type) => sum + type.count, 0);
  return table("Event types, with what they mean", [
    { name: "Event type" }, { name: "Meaning" }, { name: "Strength", right: true }, { name: "Events", right: true },
    { name: "Share", right: true }, { name: "Unknown items", right: true }],
  types.map((type) => h("tr", {},
    h("td", {}, bdi(type.eventType, 60, { class: "mono clip" })),
    h("td", {}, meaningChip(type.meaning), type.knownType === false && meaningOf(type.meaning) === "VIEW" && chip("type unknown", "warn")),
    right(type.strength === undefined || type.strength === null ? h("span", { class: "muted" }, "–") : type.strength.toFixed(1), type.weak && h("span", { class: "muted" }, " weak")),
    right(count(type.count)), right(percent(type.count, total)),
    right(type.recentItems > 0 ? percent(type.unknownItem ?? 0, type.recentItems) : h("span", { class: "muted" }, "no item")))));
}

function coldShare(lists) {
  if (!lists.total) return empty("No list was served yet", h("p", { class: "muted" }, "Ask for one in “Try a user”."));
  const reasons = Object.entries(lists.byColdReason ?? {}).filter(([, n]) => n > 0).sort(([, a], [, b]) => b - a);
  return [
    figures(figure("lists", count(lists.total)), figure("cold", percent(lists.cold ?? 0, lists.total)),
      lists.empty !== undefined && figure("empty", percent(lists.empty, lists.total))),
    reasons.length > 0 && h("ul", { class: "bars" }, reasons.map(([reason, n]) => h("li", {},
      h("span", { class: "bar-name" }, COLD_NAMES[reason] ?? plain(reason, 40)),
      bar(n / lists.total), h("span", { class: "num" }, percent(n, lists.total))))),
  ];
}

export function create() {
  const latest = new Latest();
  const body = h("div", { class: "body" });
  const refresh = () => show(body, latest, async (signal) => {
    const data = await look("data", signal);
    const found = findings(data);
    return [
      panel("What to do", { class: "panel findings" }, found.length === 0
        ? callout("good", "Nothing is wrong with the data", h("p", {}, "Items have tags or vectors, and events mean something."))
        : found.map(([kind, name, advice]) => callout(kind, name, h("p", {}, advice)))),
      h("div", { class: "grid" },
        panel("Items", {}, coverage(data.items ?? {})),
        panel("Lists since start", {}, coldShare(data.lists ?? {}))),
      panel("Event types", { note: "Events that this process took since its start." }, eventTypes(data.events ?? {})),
    ];
  }, refresh, 8);
  const node = h("div", { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title), button("Refresh", refresh)), body);
  return { node, enter: () => void refresh(), leave: () => latest.stop() };
}

