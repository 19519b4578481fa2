// Try a user: what they did, what is liked, and the list with the reasons.

import { Latest, ask, recommender } from "./api.js";
import { announce, count, few, fill, h, plain, when } from "./dom.js";
import { adviceFor, eventTable, timeline, verdicts } from "./history.js";
import { listOf } from "./item-list.js";
import { empty, failure, figure, figures, loading, panel, show, tagBars } from "./parts.js";
import { requestForm } from "./request-form.js";
import { remember, state } from "./state.js";

export const title = "Try a user";

const SOURCES = {
  SIGNALS_SOURCE_MATERIALIZED: "stored model", SIGNALS_SOURCE_REBUILT: "built for this call",
  SIGNALS_SOURCE_EMPTY: "no model",
};

/** The user's explained model, with events newest first. */
export function readUser(reply) {
  const items = reply?.items ?? [];
  const titles = new Map(items.filter((item) => item.title).map((item) => [item.content_id, item.title]));
  return { ...reply, items, events: reply?.events ?? [], event_count: reply?.event_count ?? 0, titles };
}

export function create() {
  const [lists, users] = [new Latest(), new Latest()];
  let drawing = new AbortController();
  const input = h("input", {
    type: "text", id: "user-id", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    maxlength: 256, placeholder: "user id, or empty for nobody", list: "recent-users",
  });
  const recent = h("datalist", { id: "recent-users" });
  const listBox = h("div", { class: "body" });
  const modelBox = h("div", { class: "body" });
  const historyBox = h("div", { class: "body" });
  const form = requestForm(() => refreshList());

  function refreshList() {
    if (input.value !== state.user) return look();
    drawing.abort();
    drawing = new AbortController();
    const drawn = drawing.signal;
    return show(listBox, lists, async (signal) => {
      const from = performance.now();
      const reply = await recommender("Recommend", form.request(), signal);
      const ms = performance.now() - from;
      const items = reply.items ?? [];
      form.offerTypes([...new Set(items.map((item) => item.content?.contentType).filter(Boolean))]);
      announce(`${few(items.length, "item")} for ${plain(state.user, 60) || "nobody"}`);
      return listOf(reply, {
        ms, signal: drawn,
        onExclude: (id) => {
          form.exclude(id);
          refreshList();
        },
      });
    }, refreshList, 8);
  }

  async function refreshUser() {
    if (state.user === "") {
      users.stop();
      fill(modelBox, empty("Nobody", h("p", { class: "muted" }, "A list without a user shows what is popular.")));
      fill(historyBox);
      historyPanel.hidden = true;
      return;
    }
    historyPanel.hidden = false;
    const user = state.user;
    fill(historyBox, loading(4));
    const shown = await show(modelBox, users, async (signal) => {
      const [explained, signals] = await Promise.all([
        ask("user", { userId: user }, signal).then((reply) => [readUser(reply), null], (error) => [null, error]),
        recommender("GetUserSignals", { userId: user }, signal).then((reply) => [reply, null], (error) => [null, error]),
      ]);
      fill(historyBox, explained[1] ? failure(explained[1], refreshUser) : history(explained[0]));
      if (signals[1]) throw signals[1];
      return model(signals[0], explained[0]);
    }, refreshUser, 5);
    if (!shown && historyBox.querySelector(".loading")) fill(historyBox);
  }

  function model(reply, explained) {
    const signals = reply.signals ?? {};
    const behavior = signals.behavior ?? {};
    if (!signals.eventCount) {
      return [empty("No events are stored for this user", h("p", { class: "muted" },
        "None arrived for this id, or all are older than the window."))];
    }
    return [
      figures(figure("events", count(signals.eventCount)), figure("liked items", count(behavior.nPositive)),
        figure("disliked or ignored", count(behavior.nNegative)), figure("seen items", count(behavior.nViews))),
      explained && adviceFor(explained),
      tagBars(signals.tagAffinity, signals.tagAversion, 8),
      h("p", { class: "muted small" }, SOURCES[reply.source] ?? "", signals.builtAt && [", as of ", when(signals.builtAt)]),
    ];
  }

  function history(user) {
    if (user.events.length === 0 && user.items.length === 0) {
      return empty("Nothing happened yet", h("p", { class: "muted" },
        "Events of the last days appear here as soon as they arrive."));
    }
    return [
      timeline(user.events),
      h("h3", {}, "Items, and the event that decided"),
      verdicts(user.items),
      user.ignored > 0 && h("p", { class: "muted small" }, `${few(user.ignored, "item was", "items were")} displayed and ignored: they score lower.`),
      user.events.length > 0 && [h("h3", {}, "Events"), eventTable(user.events, user.titles)],
    ];
  }

  function look() {
    remember(input.value);
    fill(recent, state.recentUsers.map((user) => h("option", { value: user })));
    form.update();
    return Promise.all([refreshList(), refreshUser()]);
  }

  const examples = h("span", { class: "row examples" });
  const search = h("form", {
    class: "search", role: "search",
    on: {
      submit: (event) => {
        event.preventDefault();
        look();
      },
    },
  }, h("label", { for: "user-id" }, "User"), input, recent,
  h("button", { class: "button primary", type: "submit" }, "Look"), examples);

  const historyPanel = panel("What the user did", { class: "panel wide" }, historyBox);
  const node = h("div", { class: "view view-user" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title), search),
    h("div", { class: "columns" },
      panel("Request", { class: "panel side" }, form.node),
      h("div", { class: "stacked" },
        panel("The list", {}, listBox),
        panel("Likes and dislikes", {}, modelBox),
        historyPanel)));
  historyPanel.hidden = true;
  fill(modelBox, empty("No user yet"));

  let started = false;
  return {
    node,
    enter() {
      const known = state.session.exampleUsers ?? [];
      fill(examples, known.slice(0, 4).map((user) => h("button", {
        type: "button", class: "chip tap",
        on: {
          click: () => {
            input.value = user;
            look();
          },
        },
      }, plain(user, 40))));
      if (!started) {
        started = true;
        input.value = state.user || known[0] || "";
        look();
      } else if (input.value !== state.user) {
        input.value = state.user;
        look();
      }
    },
    leave() {},
  };
}

