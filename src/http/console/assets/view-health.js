// Health: the stores, the calls and their latencies, renewed every few seconds.

import { Latest, look } from "./api.js";
import { announce, bdi, bytes, count, fill, h, millis, percent, plain, span } from "./dom.js";
import { bar, callout, chip, empty, failure, figure, figures, loading, panel, right, table } from "./parts.js";

export const title = "Health";

const INTERVAL_MS = 5_000;
const KINDS = { ok: "good", down: "bad", misconfigured: "bad", starting: "warn" };
const ADVICE = {
  down: "It does not answer. Check that it runs and that its address is right; recsys doctor checks both.",
  misconfigured: "It refuses a command that the service needs; recsys doctor names it.",
  starting: "It has not answered since start.",
};

function store(one) {
  const kind = KINDS[one.state] ?? "warn";
  return h("li", { class: `store ${kind}` },
    h("div", { class: "row" }, h("strong", {}, plain(one.name, 40)), chip(plain(one.state, 30), kind)),
    h("p", { class: "muted" }, plain(one.kind, 40), one.detail && [": ", bdi(one.detail, 200)]),
    ADVICE[one.state] && h("p", { class: "small" }, ADVICE[one.state]));
}

function calls(all) {
  const used = all.filter((call) => call.calls > 0).sort((a, b) => b.calls - a.calls);
  if (used.length === 0) return empty("No call yet");
  const slowest = Math.max(...used.map((call) => call.p99Ms ?? 0), 1e-6);
  return table("Calls, with their latencies", [{ name: "Call" }, { name: "Calls", right: true }, { name: "Errors", right: true },
    { name: "p50", right: true }, { name: "p99", right: true }, { name: "Chart" }],
  used.map((call) => h("tr", {}, h("td", {}, bdi(call.method, 60, { class: "mono" })), right(count(call.calls)),
    right(call.errors > 0 ? h("span", { class: "bad-text" }, `${count(call.errors)} (${percent(call.errors, call.calls)})`) : "0"),
    right(millis(call.p50Ms)), right(millis(call.p99Ms)), h("td", { class: "wide-cell" }, bar((call.p99Ms ?? 0) / slowest)))));
}

export function create() {
  const latest = new Latest();
  const body = h("div", { class: "body", role: "group", "aria-label": "Health" });
  const live = h("input", { type: "checkbox", id: "live-health", checked: true });
  let timer = 0;
  let last = "";
  fill(body, loading(6));

  function draw(health) {
    const stores = health.stores ?? [];
    const sick = stores.filter((one) => one.state !== "ok");
    const now = sick.length > 0 ? `${sick.map((one) => one.name).join(", ")}: ${sick[0].state}` : "all stores answer";
    if (now !== last) announce(plain(now, 120));
    last = now;
    return [
      sick.length > 0
        ? callout("bad", `${plain(now, 120)}`, h("p", {}, "Lists go on without it as far as they can, and say so."))
        : callout("good", "All stores answer"),
      figures(health.version && figure("version", plain(health.version, 30)),
        health.uptimeSeconds !== undefined && figure("up for", span(health.uptimeSeconds)),
        health.ready !== undefined && figure("ready", health.ready ? "yes" : "no"),
        health.inFlight !== undefined && figure("calls in flight", count(health.inFlight)),
        health.residentBytes > 0 && figure("memory", bytes(health.residentBytes)),
        health.associations?.dueRows !== undefined && figure("rows of neighbors due", count(health.associations.dueRows))),
      panel("Stores", {}, h("ul", { class: "stores" }, stores.map(store))),
      health.calls && panel("Calls since start", {}, calls(health.calls)),
    ];
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const health = await latest.run((signal) => look("health", signal));
      if (health === undefined) return;
      // A table that has the focus, or text that is selected, stays.
      const busy = body.contains(document.activeElement) || String(getSelection());
      if (!busy || body.querySelector(".loading, [role=alert]")) fill(body, draw(health));
    } catch (error) {
      if (!body.querySelector("[role=alert]")) fill(body, failure(error, refresh));
    }
    if (live.checked && !node.hidden) timer = setTimeout(refresh, INTERVAL_MS);
  }
  live.addEventListener("change", refresh);
  const node = h("div", { class: "view" },
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, title),
      h("div", { class: "row" }, live, h("label", { for: live.id }, "Renew every 5 seconds"))),
    body);
  return {
    node,
    enter: () => void refresh(),
    leave() {
      clearTimeout(timer);
      latest.stop();
    },
  };
}
