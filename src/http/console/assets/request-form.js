// The form of a Recommend request: every field of it, and the request as JSON.

import { button, fill, h, plain } from "./dom.js";
import { copyButton, field, select } from "./parts.js";
import { state } from "./state.js";

const lines = (text) => text.split("\n").map((line) => line.trim()).filter((line) => line !== "");

/** Tags, one a line, as "facet:label" or "label". */
const tags = (text) =>
  lines(text).map((line) => {
    const colon = line.indexOf(":");
    return colon < 0
      ? { facet: "", label: line }
      : { facet: line.slice(0, colon).trim(), label: line.slice(colon + 1).trim() };
  });

const text = (props) => h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...props });
const area = (placeholder) =>
  h("textarea", { rows: 2, placeholder, spellcheck: "false", autocomplete: "off" });
const numeric = (props) => h("input", { type: "number", inputmode: "decimal", step: "any", ...props });

function group(title, open, ...children) {
  const mark = h("span", { class: "count", hidden: true });
  const node = h("details", { class: "group", open }, h("summary", {}, title, mark), h("div", { class: "fields" }, children));
  return { node, mark };
}

/** Makes the form. `submit` is called with nothing; read `request()` then. */
export function requestForm(submit) {
  const limit = numeric({ min: 1, max: 100, step: 1, value: "10" });
  const seen = select([["", "Default: hide what was seen"], ["SEEN_POLICY_HIDE", "Hide seen"],
    ["SEEN_POLICY_HIDE_DONE", "Hide what is done, such as bought"], ["SEEN_POLICY_ALLOW", "Show seen, too"]]);
  const exploration = select([["", "As the ranking file says"], ["true", "On"], ["false", "Off"]]);
  const seed = numeric({ min: 0, max: 4294967295, step: 1, placeholder: "random" });
  const placement = text({ placeholder: "home" });
  const where = h("textarea", {
    rows: 2, class: "mono", spellcheck: "false",
    placeholder: "word_count < 200 AND tags.mood = \"funny\"",
  });
  const label = text({ placeholder: "any label, such as brass" });
  const types = text({ placeholder: "film, series", list: "content-types" });
  const [must, anyOf, mustNot] = [area("theme:Lighthouses"), area("era:18th century"), area("mood:eerie")];
  const [latitude, longitude] = [numeric({ min: -90, max: 90 }), numeric({ min: -180, max: 180 })];
  const radius = numeric({ min: 0, placeholder: "none" });
  const context = area("2001");
  const exclude = area("2002");
  const boosts = h("div", { class: "boosts" });
  const json = h("pre", { class: "json", tabindex: "0", "aria-label": "Request as JSON" });

  function addBoost() {
    const rule = text({ class: "mono", placeholder: "content_type = \"film\"", "aria-label": "Items to boost (where)" });
    const weight = h("input", { type: "range", min: -2, max: 2, step: 0.1, value: "0.5", "aria-label": "Weight of the boost" });
    const shown = h("output", { class: "num" }, "0.5");
    weight.addEventListener("input", () => (shown.textContent = weight.value));
    const node = h("div", { class: "boost" }, rule, h("div", { class: "row" }, weight, shown,
      button("Remove", () => {
        node.remove();
        update();
        more.hidden = false;
        more.focus();
      }, { class: "button small" })));
    node.read = () => ({ where: rule.value.trim(), weight: Number(weight.value) });
    boosts.append(node);
    rule.focus();
    more.hidden = boosts.children.length >= 10;
    update();
  }
  const more = button("Add a boost", addBoost, { class: "button small" });

  const groups = [
    [group("List", innerWidth > 1080,
      h("div", { class: "pair" }, field("Items", limit), field("Seed", seed)),
      field("Items that the user has seen", seen), field("Exploration item", exploration),
      field("Placement", placement, "A name from the ranking file's placements.")),
    ["seen", "exploration", "seed", "placement"]],
    [group("Restrict", false,
      field("Where", where, "AIP-160: = != < > AND OR NOT, on fields of items."),
      field("With this label", label), field("Content types", types, "Separated by commas."),
      field("With all of these tags", must, "facet:label, one a line."),
      field("With any of these tags", anyOf), field("With none of these tags", mustNot)),
    ["where", "filter", "contentTypes", "must", "anyOf", "mustNot"]],
    [group("Place", false,
      h("div", { class: "pair" }, field("Latitude", latitude), field("Longitude", longitude)),
      field("Within meters", radius, "Without it, nearer items only score higher.")),
    ["near", "radiusMeters"]],
    [group("Context and exclusions", false,
      field("Items at hand", context, "Ids, one a line, the latest last: this session, a basket."),
      field("Never these items", exclude, "Ids, one a line.")),
    ["contextIds", "excludeIds"]],
    [group("Boosts", false, boosts, more), ["boosts"]],
  ];

  /** The request as the API takes it: fields that are not set are left out. */
  function request() {
    const all = {
      userId: state.user,
      limit: Number(limit.value) || undefined,
      filter: label.value.trim(),
      where: where.value.trim(),
      must: tags(must.value),
      anyOf: tags(anyOf.value),
      mustNot: tags(mustNot.value),
      contentTypes: types.value.split(",").map((type) => type.trim()).filter(Boolean),
      near: latitude.value !== "" || longitude.value !== ""
        ? { latitude: Number(latitude.value), longitude: Number(longitude.value) }
        : undefined,
      radiusMeters: radius.value === "" ? undefined : Number(radius.value),
      includeContent: true,
      contextIds: lines(context.value),
      excludeIds: lines(exclude.value),
      seen: seen.value,
      exploration: exploration.value === "" ? undefined : exploration.value === "true",
      seed: seed.value === "" ? undefined : Number(seed.value),
      boosts: [...boosts.children].map((node) => node.read()).filter((boost) => boost.where),
      placement: placement.value.trim(),
    };
    const isSet = ([, value]) =>
      value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0);
    return Object.fromEntries(Object.entries(all).filter(isSet));
  }

  function update() {
    const now = request();
    fill(json, JSON.stringify(now, null, 2));
    for (const [{ mark }, names] of groups) {
      const set = names.filter((name) => now[name] !== undefined).length;
      mark.hidden = set === 0;
      mark.textContent = `${set} set`;
    }
  }

  function curl() {
    const api = state.session.apiUrl ?? "http://127.0.0.1:50051";
    // A quote within single quotes of a shell.
    const body = JSON.stringify(request()).replaceAll("'", `'\\''`);
    const key = state.session.loginRequired ? " -H \"authorization: Bearer $RECSYS_KEY\"" : "";
    return `curl -s -H 'content-type: application/json'${key} -d '${body}' ${api}/recsys.v1.RecommenderService/Recommend`;
  }

  const form = h("form", {
    class: "request", "aria-label": "Request", novalidate: true,
    on: {
      submit: (event) => {
        event.preventDefault();
        submit();
      },
      input: update,
      change: update,
      reset: () => setTimeout(() => {
        fill(boosts);
        more.hidden = false;
        update();
        submit();
      }),
      keydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      },
    },
  },
  groups.map(([{ node }]) => node),
  h("datalist", { id: "content-types" }),
  h("div", { class: "row actions" },
    h("button", { class: "button primary", type: "submit" }, "Show the list"),
    h("button", { class: "button", type: "reset" }, "Reset")),
  h("details", { class: "group" }, h("summary", {}, "Request as JSON"),
    json, h("div", { class: "row" },
      copyButton("Copy JSON", () => JSON.stringify(request(), null, 2)),
      copyButton("Copy curl", curl))));
  update();

  return {
    node: form,
    request,
    update,
    /** Adds an item to what the list must not hold. */
    exclude(id) {
      exclude.value = `${exclude.value.trimEnd()}\n${id}`.trim();
      update();
    },
    /** Offers the content types of the items that were listed. */
    offerTypes(names) {
      fill(form.querySelector("datalist"), names.map((name) => h("option", { value: plain(name, 100) })));
    },
  };
}
