// The page: the session, and which view is shown. The URL's fragment names a view and
// nothing else.

import { ask, look, onSignedOut } from "./api.js";
import { announce, button, fill, h, plain } from "./dom.js";
import { failure } from "./parts.js";
import { state } from "./state.js";
import * as user from "./view-user.js";

/** The other views are loaded when they are first shown. */
const VIEWS = {
  user: () => user,
  data: () => import("./view-data.js"),
  item: () => import("./view-item.js"),
  ranking: () => import("./view-ranking.js"),
  results: () => import("./view-results.js"),
  health: () => import("./view-health.js"),
};

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const made = new Map();
let current = null;
let turn = 0;

const named = () => {
  const name = location.hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? name : "user";
};

async function route(focus) {
  const name = named();
  turn += 1;
  const mine = turn;
  for (const link of nav.children) {
    if (link.hash === `#${name}`) {
      link.setAttribute("aria-current", "page");
      nav.scrollLeft = link.offsetLeft - nav.offsetLeft - 32;
    } else link.removeAttribute("aria-current");
  }
  try {
    const module = await VIEWS[name]();
    if (mine !== turn || !state.session.authenticated) return;
    current?.leave();
    if (!made.has(name)) made.set(name, module.create());
    current = made.get(name);
    for (const view of made.values()) view.node.hidden = view !== current;
    if (current.node.parentNode !== main) {
      for (const node of [...main.children]) {
        if (![...made.values()].some((view) => view.node === node)) node.remove();
      }
      main.append(current.node);
    }
    document.title = `${module.title} · recsys console`;
    current.enter();
    if (focus) {
      current.node.querySelector("h1").focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  } catch (error) {
    console.error(error);
    fill(main, failure(error, () => location.reload()));
  }
}

function drawSession() {
  const { tenant, loginRequired, version } = state.session;
  fill(document.getElementById("session"),
    tenant && h("span", { class: "tenant" }, h("span", { class: "muted" }, "tenant "), plain(tenant, 40)),
    version && h("span", { class: "muted version" }, plain(version, 20)),
    loginRequired && button("Log out", logOut, { class: "button small" }));
}

async function logOut() {
  try {
    await ask("logout");
  } catch {
    // The session may be over already.
  }
  // What was shown of users must not stay in the page.
  location.hash = "";
  location.reload();
}

function enter(session, focus) {
  state.session = session;
  document.body.classList.remove("signed-out");
  drawSession();
  fill(main);
  route(focus);
}

async function showLogin() {
  if (document.body.classList.contains("signed-out")) return;
  turn += 1;
  current?.leave();
  current = null;
  made.clear();
  Object.assign(state, { session: {}, user: "", item: "", recentUsers: [] });
  const { loginForm } = await import("./view-login.js");
  document.body.classList.add("signed-out");
  document.title = "Log in · recsys console";
  fill(main, loginForm((session) => enter(session, true)));
  main.querySelector("input").focus();
  announce("Log in");
}

onSignedOut(showLogin);
addEventListener("hashchange", () => state.session.authenticated && route(true));
document.getElementById("skip").addEventListener("click", (event) => {
  // The fragment names a view.
  event.preventDefault();
  main.focus();
});
document.addEventListener("open-item", async (event) => {
  state.item = event.detail;
  const view = made.get("item");
  if (named() === "item" && view) view.open(state.item);
  else location.hash = "item";
});

async function start() {
  try {
    const session = await look("session");
    if (session.authenticated) enter(session, false);
    else await showLogin();
  } catch (error) {
    if (document.body.classList.contains("signed-out")) return;
    fill(main, failure(error, start));
  }
}

start();
