// A list that the API returned: its items with the parts of their scores, and how it
// was made.

import { appendAll, bdi, button, count, few, h, plain, score } from "./dom.js";
import {
  callout, chip, empty, itemLink, legend, partsOf, picture, scaleOf, scoreBar, tagList, webAddress,
} from "./parts.js";

const to = (view, text) => h("a", { href: `#${view}` }, text);

/** Why a list is cold, and what to do about it. */
const COLD = {
  COLD_REASON_NO_USER: ["info", "A list for nobody", "The request names no user, so it shows what is popular."],
  COLD_REASON_UNKNOWN_USER: ["warn", "Nothing is known of this user",
    "No event arrived for this id, or all are older than the window. Check the id's spelling, and that events are sent with the same id. ",
    to("data", "See which events arrive"), "."],
  COLD_REASON_NO_POSITIVE_EVENTS: ["warn", "The user has events, and none makes an item liked",
    "The event types may mean nothing to the ranking file, or name no item. See “What the user did” below, and ",
    to("data", "what each event type means"), "."],
  COLD_REASON_USER_STATE_UNAVAILABLE: ["bad", "The user's model could not be read",
    "The list is the one of an unknown user. ", to("health", "See the stores"), "."],
  COLD_REASON_CATALOG_WITHOUT_FEATURES: ["bad", "This list is random: the items carry neither tags nor vectors",
    "Nothing connects what the user likes with other items. Add tags or vectors to the catalogue. ",
    to("data", "See what items lack"), "."],
};

const EMPTY = {
  EMPTY_REASON_CATALOG_EMPTY: ["The catalogue holds no items", "Import a catalogue first: recsys catalog import."],
  EMPTY_REASON_NO_ITEM_MATCHES: ["No item meets the restrictions", "Loosen “Restrict” or “Place”."],
  EMPTY_REASON_ALL_SEEN_OR_EXCLUDED: ["The user has seen every matching item", "Set “Items that the user has seen” to show seen items, too."],
};

const SKIPPED = {
  EXPLORATION_SKIP_DISABLED: "switched off in the ranking file",
  EXPLORATION_SKIP_LIMIT_TOO_SMALL: "fewer than 3 items",
  EXPLORATION_SKIP_NOT_DRAWN: "not drawn this time",
  EXPLORATION_SKIP_NO_CANDIDATE: "no item left to explore",
};

const DEGRADED = {
  user_model: "The user's model could not be read.",
  liked_items: "The liked items could not be read.",
  associations: "What other users did could not be read.",
  catalogue: "The catalogue cannot be reached: these are cached items.",
};

/** What is to be said of a list before its items. */
export function remarks(reply) {
  const facts = reply.diagnostics ?? {};
  const all = [];
  const degraded = facts.degraded ?? [];
  if (degraded.length > 0) {
    all.push(callout("warn", "This list is degraded", h("ul", { class: "plain" },
      degraded.slice(0, 8).map((name) => h("li", {}, DEGRADED[name] ??
        `Not used: ${plain(name, 80)}`))), h("p", {}, to("health", "See the stores"), ".")));
  }
  const cold = COLD[facts.coldReason];
  if (cold && (reply.items?.length ?? 0) > 0) {
    const [kind, title, ...text] = cold;
    // The same link element cannot stand in two places.
    all.push(callout(kind, title, h("p", {}, text.map((part) => part.cloneNode?.(true) ?? part))));
  } else if (facts.coldStartFallback) {
    all.push(callout("warn", "This list is a random sample", h("p", {}, "The model found no unseen item.")));
  }
  if (facts.seenFallback) {
    all.push(callout("info", "Every matching item was seen before", h("p", {}, "So the list shows seen items.")));
  }
  return all;
}

function howMade(reply, ms) {
  const facts = reply.diagnostics ?? {};
  const warm = reply.strategy === "RECOMMEND_STRATEGY_WARM";
  const generators = Object.entries(facts.generators ?? {}).filter(([, n]) => n > 0)
    .sort(([, a], [, b]) => b - a);
  const explored = facts.exploration ?? {};
  return h("div", { class: "made" },
    chip(warm ? "warm" : "cold", warm ? "good" : "cold"),
    h("span", {}, `${few(facts.poolSize ?? 0, "candidate")}`,
      generators.length > 0 && `: ${generators.map(([name, n]) => `${count(n)} ${plain(name, 30)}`).join(", ")}`),
    h("span", {}, explored.contentId
      ? `exploration item at ${explored.slot}`
      : `no exploration item${SKIPPED[explored.skipped] ? `: ${SKIPPED[explored.skipped]}` : ""}`),
    ms !== undefined && h("span", { class: "num" }, `${Math.round(ms)} ms`));
}

/** One item of a list. */
function itemRow(item, scale, { onExclude }) {
  const content = item.content;
  const explores = item.role === "ITEM_ROLE_EXPLORATION";
  const detail = h("details", { class: "detail" }, h("summary", {}, "Details"));
  detail.addEventListener("toggle", () => {
    if (!detail.open || detail.children.length > 1) return;
    const url = webAddress(content?.publicUrl);
    detail.append(h("div", { class: "detail-body" },
      h("table", { class: "tight" }, h("caption", { class: "sr" }, "Parts of the score"), h("tbody", {},
        partsOf(item.breakdown).map(([part, value]) => h("tr", {},
          h("th", { scope: "row" }, plain(part, 40)), h("td", { class: "right" }, score(value)))),
        h("tr", { class: "total" }, h("th", { scope: "row" }, "score"), h("td", { class: "right" }, score(item.score))))),
      h("div", {},
        item.matchedTags?.length > 0 && h("p", {}, h("span", { class: "muted" }, "Liked tags: "),
          item.matchedTags.slice(0, 12).map((tag) => chip(plain(tag, 60)))),
        item.similarTo && h("p", {}, h("span", { class: "muted" }, "Most similar liked item: "), itemLink(item.similarTo)),
        item.similarBecause && h("p", {}, h("span", { class: "muted" }, "Chosen together with: "), itemLink(item.similarBecause)),
        content?.text && h("p", { class: "text" }, bdi(content.text, 400)),
        tagList(content?.tags, 12),
        h("p", { class: "row" },
          url && h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, "Open its page"),
          onExclude && button("Exclude from the list", () => onExclude(item.contentId), { class: "button small" })))));
  });
  return h("li", { class: explores ? "item explores" : "item" },
    h("span", { class: "rank num" }, item.rank),
    picture(content ?? { contentId: item.contentId }),
    h("div", { class: "item-main" },
      h("div", { class: "item-title" }, itemLink(item.contentId, content?.title),
        explores && chip("exploration", "explore")),
      h("div", { class: "item-sub muted" },
        content?.contentType && [bdi(content.contentType, 30), " · "], bdi(item.contentId, 40, { class: "mono" }),
        item.reason && [" · ", h("span", { class: "reason" }, bdi(item.reason, 200))]),
      detail),
    h("div", { class: "item-score" }, scoreBar(item.breakdown, scale), h("span", { class: "num total" }, score(item.score))));
}

/** A reply with a list: remarks, how it was made, and its items. */
export function listOf(reply, { ms, onExclude, signal } = {}) {
  const items = reply.items ?? [];
  const said = remarks(reply);
  if (items.length === 0) {
    const [title, advice] = EMPTY[reply.diagnostics?.reason] ?? ["The list is empty", ""];
    return [said, empty(title, h("p", { class: "muted" }, advice)), howMade(reply, ms)];
  }
  const list = h("ol", { class: "items", "aria-label": "Recommended items" });
  const scale = scaleOf(items);
  appendAll(list, items, (item) => itemRow(item, scale, { onExclude }), signal);
  return [said, h("div", { class: "list-head" }, howMade(reply, ms), legend(items)), list,
    h("p", { class: "muted small" }, "Ordered by score and variety together, so scores may rise within the list. Request ",
      h("code", {}, plain(reply.requestId, 60)))];
}

