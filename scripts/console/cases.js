// The cases, by name. Each starts the servers that it needs.

import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { catalogFile, pause, recsys as serve, redis, send, stop, tenants, until } from "./servers.js";

const redisServer = process.env.REDIS_SERVER ?? "redis-server";
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

/** What must hold of every view that is shown. */
async function sound(page, what, must) {
  const wrong = await page.accessibility();
  must(`${what}: axe-core finds nothing`, wrong.length === 0, wrong);
  const small = await page.smallTargets();
  must(`${what}: no control is below 24 pixels`, small.length === 0, small);
  const wider = await page.overflow();
  must(`${what}: not wider than the window`, wider <= 0, wider);
}

async function unharmed(page, what, must) {
  const { violations } = await page.watched();
  must(`${what}: nothing breaks the content security policy`, violations.length === 0, violations);
  must(`${what}: no script fails, no dialog opens`, page.errors.length === 0, page.errors);
  const stray = page.strayRequests();
  must(`${what}: no request to another host except for pictures`, stray.length === 0, stray);
  const leaks = page.requests.filter(({ url }) => /visitor-1|shopper-1|\/2001/.test(url) && url.startsWith(page.address));
  must(`${what}: no id in a URL`, leaks.length === 0 && !/visitor|shopper|2001/.test(page.page.url()), leaks);
}

/** Every view on the sample shop, in both schemes and on a phone. */
export async function shop({ recsys, browser, pictures, must, timing, Console, VIEWS }) {
  const server = await serve(recsys, "quickstart");
  for (const [name, options] of [["light", {}], ["dark", { scheme: "dark" }], ["phone", { width: 390, height: 780 }]]) {
    const page = await Console.open(browser, server.console, options);
    if (name === "light") {
      const paint = await page.page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
      timing("first paint", Math.round(paint), 300);
    }
    for (const view of VIEWS) {
      if (view === "item") await page.item("2001");
      else if (view === "user") await page.user("visitor-1");
      else await page.view(view);
      const text = await page.text();
      must(`${name}, ${view}: shows no error`, (await page.count("[role=alert]")) === 0, text.slice(0, 600));
      await sound(page, `${name}, ${view}`, must);
      await page.picture(pictures, `shop-${view}-${name}`, { fullPage: true });
    }
    await unharmed(page, name, must);
    await page.close();
  }

  const page = await Console.open(browser, server.console);
  await page.user("visitor-1");
  must("the list has items with titles, reasons and parts of scores",
    (await page.count(".items .item")) === 10 && (await page.count(".stack .seg")) > 10 &&
    (await page.texts(".reason")).some((text) => /Because you liked|Often chosen together/.test(text)), await page.text());
  must("a like names the event that decided",
    (await page.texts(".verdict")).some((text) => /liked .*CONTENT_VIEW_ENDED.*behavior/.test(text)), await page.texts(".verdict"));
  must("tags that are liked and disliked are shown",
    (await page.text()).includes("clocks and instruments") && (await page.text()).includes("festivals and masks"));
  must("the timeline shows the events", (await page.count(".timeline rect")) > 0);

  await page.user("shopper-1");
  must("an event type without meaning is named",
    (await page.texts(".verdict")).some((text) => text.includes("purchase") && text.includes("its event type is worth +1.00")), await page.texts(".verdict"));

  await page.user("nobody-knows-me");
  must("an unknown user's list says why it is cold", (await page.text()).includes("Nothing is known of this user"), await page.text());
  await page.user("");
  must("a list for nobody says so", /for nobody/i.test(await page.text()), await page.text());

  // Every field of the request.
  await page.user("visitor-1");
  await page.press("Request as JSON");
  await page.press("Restrict");
  await page.fill("input[placeholder^='any label']", "brass");
  await page.page.keyboard.press("Enter");
  await page.settled();
  const request = JSON.parse(await page.text(".request .json"));
  must("the request is shown as JSON", request.filter === "brass" && request.userId === "visitor-1" && request.includeContent === true, request);
  await page.press("Place");
  await page.fill("input[max='90']", "95");
  await page.press("Show the list");
  await page.settled();
  must("a field out of its bounds is named", /latitude/.test(await page.text("[role=alert]")), await page.text("[role=alert]"));
  await page.press("Reset");
  await page.settled();
  must("after a reset the list is back", (await page.count(".items .item")) === 10);
  await page.close();
  await stop(server.child);
}

/** The way to the weight that shows more popular items, and its ranking file. */
export async function ranking({ recsys, browser, folder, must, Console }) {
  const server = await serve(recsys, "quickstart", { ASSOCIATIONS_INTERVAL: "1s" });
  await until("popular items", async () => {
    const popular = await fetch(`${server.api}/recsys.v1.RecommenderService/PopularItems`, {
      method: "POST", headers: { "content-type": "application/json" }, body: "{}",
    });
    return (await popular.json()).items?.length > 0;
  });
  const page = await Console.open(browser, server.console);
  const client = await page.page.createCDPSession();
  await client.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder, browserContextId: page.context.id });
  await page.user("visitor-1");
  await page.view("ranking");
  const before = await page.texts(".grid .panel:nth-child(2) .item-title .link");
  await page.press("More popular items");
  for (let more = 0; more < 9; more += 1) await page.press("More popular items");
  await page.settled();
  await pause(500);
  await page.settled();
  const after = await page.texts(".grid .panel:nth-child(2) .item-title .link");
  must("the new list follows the slider", after.length === before.length && String(after) !== String(before), { before, after });
  must("an item comes that is popular", (await page.texts(".grid .panel:nth-child(2) .stack")).length > 0 &&
    (await page.page.$$eval(".grid .panel:nth-child(2) .stack", (all) => all.some((one) => /popularity \d/.test(one.getAttribute("aria-label"))))));
  must("the change is shown", (await page.text(".diff")).includes("fusion.popularity 0.2 → 3.2"), await page.text(".diff"));
  await page.press("Download the ranking file");
  const file = path.join(folder, "ranking.toml");
  const toml = await until("the download", () => readFile(file, "utf8"));
  must("the ranking file holds the change", /^popularity = 3\.2$/m.test(toml), toml);
  const shown = spawnSync(recsys, ["ranking", "show"], { env: { RECSYS_RANKING_PATH: file, RANKING_PATH: file }, encoding: "utf8" });
  const made = await serve(recsys, "quickstart", { RECSYS_RANKING_PATH: file, ASSOCIATIONS_INTERVAL: "1s" });
  const served = await until("the list of the ranking file", async () => {
    const reply = await fetch(`${made.api}/recsys.v1.RecommenderService/Recommend`, {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ userId: "visitor-1", limit: 10, seed: 1, includeContent: true }),
    });
    const titles = (await reply.json()).items.map((item) => item.content.title);
    return String(titles) === String(after) ? titles : undefined;
  }).catch(() => []);
  must("a server with the ranking file makes the list of the preview", served.length === 10, { after, served });
  must("recsys reads the ranking file", shown.status === 0 && /^popularity = 3\.2$/m.test(shown.stdout), shown);
  await unharmed(page, "ranking", must);
  await page.close();
}

/** Data of which every list is random: the page says so, and why. */
export async function poor({ recsys, browser, folder, pictures, must, Console }) {
  const items = Array.from({ length: 40 }, (_, i) => ({ id: `p${i}`, title: `Product ${i}`, content_type: "product" }));
  const server = await serve(recsys, "serve", { CATALOG_PATH: await catalogFile(folder, "poor.jsonl", items) });
  const clicks = Array.from({ length: 30 }, (_, i) => ({ userId: "ada", eventType: "button_clicked", eventTime: ago(600 + i) }));
  const views = Array.from({ length: 6 }, (_, i) => ({ userId: "ada", eventType: "Prod Seen", contentId: `content_${i}`, eventTime: ago(60 + i) }));
  await send(server, [...clicks, ...views]);
  const page = await Console.open(browser, server.console);
  await page.user("ada");
  await page.view("data");
  const text = await page.text();
  must("the page says that no item has tags or vectors", /no item has tags or vectors/i.test(text), text);
  must("it names the event types that mean nothing", /of the events mean nothing/.test(text) && text.includes("button_clicked"), text);
  must("it says that events name unknown items", text.includes("that events name are not in the catalogue"), text);
  await sound(page, "poor data", must);
  await page.picture(pictures, "poor-data", { fullPage: true });
  await page.user("ada");
  must("the list of the user says that it is cold, and why", (await page.text()).includes("none makes an item liked"), await page.text());
  await page.picture(pictures, "poor-user", { fullPage: true });
  // A like, so that the list is cold for want of tags and vectors.
  await send(server, [{ userId: "bea", eventType: "purchase", contentId: "p1", eventTime: ago(10) }]);
  await page.user("bea");
  const bea = await page.text();
  must("a list without tags and vectors says that it is random", bea.includes("carry neither tags nor vectors") || bea.includes("popular"), bea);
  await page.close();

  const emptyPage = await serve(recsys, "serve", { CATALOG_PATH: await catalogFile(folder, "empty.jsonl", []) });
  const page2 = await Console.open(browser, emptyPage.console);
  await page2.user("ada");
  must("an empty catalogue is named", (await page2.text()).includes("The catalogue holds no items"), await page2.text());
  for (const view of ["data", "item", "results", "health", "ranking"]) {
    await page2.view(view);
    await sound(page2, `nothing there, ${view}`, must);
    await page2.picture(pictures, `empty-${view}`);
  }
  await page2.close();
}

const EVIL = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>";

/** Texts that attack the page stay texts, and do not break its layout. */
export async function hostile({ recsys, browser, folder, pictures, must, Console, VIEWS }) {
  const long = "x".repeat(10_240);
  const items = Array.from({ length: 12 }, (_, i) => ({
    id: i === 0 ? EVIL : `h${i}`,
    title: [EVIL, `${"W".repeat(3_000)}`, "\u202Egnirts desrever\u202C", "a\u0301".repeat(500), ""][i % 5],
    text: `${EVIL}${long}`,
    content_type: i % 2 ? EVIL : "\"><svg onload=alert(1)>",
    image_url: ["javascript:window.pwned=1", "data:text/html,<script>window.pwned=1</script>", "//nowhere.invalid/x.png"][i % 3],
    public_url: "javascript:window.pwned=1",
    tags: [{ facet: "theme", label: EVIL }, { facet: "<b>", label: `${"L".repeat(400)}` }],
  }));
  const store = await redis(redisServer);
  const server = await serve(recsys, "serve", {
    REDIS_URL: store.url, CATALOG_PATH: await catalogFile(folder, "hostile.jsonl", items),
  });
  const user = "<b>eve</b>";
  await send(server, [
    { userId: user, eventType: "purchase", contentId: EVIL, eventTime: ago(50) },
    { userId: user, eventType: EVIL, contentId: "h2", eventTime: ago(40) },
    { userId: user, eventType: "search", queryText: `${EVIL}${long}`, eventTime: ago(30) },
    { userId: user, eventType: "purchase", contentId: "h3", eventTime: ago(20) },
  ]);
  // Another writer may store what the API would not take.
  const member = JSON.stringify({ user_id: user, event: long, ts: ago(10), content_id: "h4", impressions: [], survey_answers: {}, raw: {} });
  spawnSync("redis-cli", ["-u", store.url, "ZADD", `evt:${user}`, String(Date.now() / 1000 - 10), member]);
  for (const [name, width] of [["wide", 1280], ["phone", 390]]) {
    const page = await Console.open(browser, server.console, { width });
    for (const view of VIEWS) {
      if (view === "item") await page.item(EVIL);
      else if (view === "user") await page.user(user);
      else await page.view(view);
      await page.page.evaluate(() => document.querySelectorAll("main .view:not([hidden]) details").forEach((node) => (node.open = true)));
      await page.settled();
      const wider = await page.overflow();
      must(`hostile, ${name}, ${view}: not wider than the window`, wider <= 0, wider);
      const made = await page.page.evaluate(() => ({
        ran: window.pwned, scripts: document.querySelectorAll("main script, main iframe").length,
        images: [...document.querySelectorAll("main img")].filter((img) => !/^https?:/.test(img.src)).length,
        links: [...document.querySelectorAll("main a[href]")].filter((a) => !/^(https?:|#)/.test(a.getAttribute("href"))).length,
      }));
      must(`hostile, ${name}, ${view}: texts stay texts`, !made.ran && made.scripts + made.images + made.links === 0, made);
      await page.picture(pictures, `hostile-${view}-${name}`);
    }
    must(`hostile, ${name}: the title is shown as written`, (await page.user(user), await page.text()).includes("<img src=x onerror="), await page.text());
    const { violations } = await page.watched();
    must(`hostile, ${name}: the policy had nothing to stop`, violations.length === 0, violations);
    must(`hostile, ${name}: no script fails`, page.errors.length === 0, page.errors);
    await page.close();
  }
}

/** A store that goes away: the page says so and goes on. */
export async function outage({ recsys, browser, folder, pictures, must, Console }) {
  const store = await redis(redisServer);
  const items = [{ id: "a", title: "A lamp", tags: [{ facet: "theme", label: "light" }] }, { id: "b", title: "A candle", tags: [{ facet: "theme", label: "light" }] }];
  const server = await serve(recsys, "serve", { REDIS_URL: store.url, CATALOG_PATH: await catalogFile(folder, "outage.jsonl", items) });
  await send(server, [{ userId: "ada", eventType: "purchase", contentId: "a", eventTime: ago(5) }]);
  const page = await Console.open(browser, server.console);
  await page.user("ada");
  must("with Redis the list is warm", (await page.text()).includes("warm"), await page.text());
  await stop(store.child);
  await page.user("ada");
  const text = await page.text();
  must("without Redis there is a list, which says that it is degraded", text.includes("This list is degraded") && (await page.count(".items .item")) > 0, text);
  must("without Redis the user's events are an error with advice", (await page.texts("[role=alert]")).some((one) => one.includes("view Health")), text);
  await sound(page, "Redis down, user", must);
  await page.picture(pictures, "outage-user", { fullPage: true });
  await page.view("health");
  await until("the outage in Health", async () => {
    await page.press("Try again").catch(() => {});
    return /down|does not answer/.test(await page.text(".callout.bad"));
  });
  must("Health names the store", /redis|users/i.test(await page.text(".callout.bad")), await page.text());
  await sound(page, "Redis down, health", must);
  await page.picture(pictures, "outage-health");
  for (const view of ["data", "item", "ranking", "results"]) {
    if (view === "item") await page.item("a");
    else await page.view(view);
    await sound(page, `Redis down, ${view}`, must);
    await page.picture(pictures, `outage-${view}`);
  }
  await unharmed(page, "Redis down", must);
  await stop(server.child);
  await page.view("data");
  must("without the server the page says so", (await page.text()).includes("cannot be reached"), await page.text());
  await page.picture(pictures, "outage-server");
  await page.close();
}

/** Keys: the log-in, and one that may not read profiles. */
export async function keys({ recsys, browser, folder, pictures, must, Console }) {
  const { keys: [whole, serveOnly], file } = await tenants(recsys, folder, "shop", ["serve", "read-profile"], ["serve"]);
  const server = await serve(recsys, "serve", { RECSYS_TENANTS_PATH: file });
  const page = await Console.open(browser, server.console);
  must("without a session there is only the log-in", (await page.count("input[type=password]")) + (await page.page.$$("main input[type=password]")).length > 0, await page.text());
  const wrong = await page.accessibility();
  must("log-in: axe-core finds nothing", wrong.length === 0, wrong);
  await page.picture(pictures, "login");
  const enter = async (key) => {
    await page.page.waitForSelector("#key");
    await page.page.type("#key", key);
    await page.page.keyboard.press("Enter");
  };
  await enter("rsk_wrong_key");
  await page.page.waitForSelector("main [role=alert]");
  must("a wrong key is refused", /does not know this key/.test(await page.text()), await page.text());
  await page.page.$eval("#key", (input) => (input.value = ""));
  await enter(whole);
  await page.page.waitForSelector(".view");
  await page.settled();
  must("with a key the views are there", (await page.text("h1")) === "Try a user");
  const stored = await page.page.evaluate(() => ({ cookie: document.cookie, local: localStorage.length, session: sessionStorage.length, url: location.href }));
  must("scripts see neither the key nor the session", stored.cookie === "" && stored.local === 0 && stored.session === 0 && !stored.url.includes("rsk"), stored);
  await page.press("Log out");
  await page.page.waitForSelector("#key");
  await page.close();

  const poor = await Console.open(browser, server.console);
  await poor.page.waitForSelector("#key");
  await poor.page.type("#key", serveOnly);
  await poor.page.keyboard.press("Enter");
  await poor.page.waitForSelector(".view, main [role=alert]");
  await poor.settled();
  if (await poor.count("#user-id")) await poor.user("ada");
  const text = await poor.text();
  must("a key that may not read profiles gets no profile, and is told which role is missing", /read-profile/.test(text), text);
  await poor.picture(pictures, "no-profile");
  await poor.close();
}

/** Everything by the keyboard alone. */
export async function keyboard({ recsys, browser, must, Console }) {
  const server = await serve(recsys, "quickstart");
  const page = await Console.open(browser, server.console);
  const { keyboard: typed } = page.page;
  const focused = () => page.page.evaluate(() => {
    const node = document.activeElement;
    const look = getComputedStyle(node);
    return { name: node.textContent.trim().slice(0, 40) || node.id, tag: node.tagName, id: node.id, ring: look.outlineStyle !== "none" };
  });
  await page.page.evaluate(() => document.activeElement.blur());
  await typed.press("Tab");
  must("the first stop skips to the content", (await focused()).name === "Skip to content", await focused());
  await typed.press("Enter");
  must("it leads to the content", (await focused()).id === "main", await focused());
  await page.page.focus("#nav a[href='#data']");
  await typed.press("Enter");
  await page.settled();
  must("Enter opens a view, and its heading has the focus", (await focused()).name === "Data", await focused());
  for (const view of ["user", "ranking", "item", "results", "health"]) {
    await page.page.focus(`#nav a[href='#${view}']`);
    await typed.press("Enter");
    await page.settled();
    const stops = new Set();
    const bare = [];
    for (let i = 0; i < 200; i += 1) {
      await typed.press("Tab");
      const at = await focused();
      if (at.tag === "BODY") break;
      if (!at.ring) bare.push(at);
      stops.add(await page.page.evaluate(() => {
        document.activeElement.dataset.stop = "1";
        return document.querySelectorAll("main [data-stop]").length;
      }));
    }
    const missed = await page.page.evaluate(() =>
      [...document.querySelectorAll("main .view:not([hidden]) :is(a[href], button, input, select, textarea, summary)")]
        .filter((node) => !node.disabled && node.checkVisibility() && !node.dataset.stop).map((node) => node.outerHTML.slice(0, 120)));
    must(`${view}: Tab reaches every control`, missed.length === 0, missed);
    must(`${view}: the focus can be seen`, bare.length === 0, bare);
  }
  await page.view("user");
  await page.page.focus("#user-id");
  await page.page.$eval("#user-id", (input) => input.select());
  await typed.type("shopper-1");
  await typed.press("Enter");
  await page.settled();
  must("a user is looked at without a mouse", (await page.text()).includes("purchase"), await page.text());
  await page.view("ranking");
  await page.page.focus("#w-popularity");
  for (let i = 0; i < 5; i += 1) await typed.press("ArrowRight");
  await page.settled();
  must("a slider moves by the arrow keys", (await page.text(".diff")).includes("0.2 → 0.25"), await page.text(".changes"));
  await page.close();
}

/** A user of 5,000 events and a list of 100 items. */
export async function heavy({ recsys, browser, folder, pictures, must, timing, Console }) {
  const items = Array.from({ length: 400 }, (_, i) => ({
    id: `i${i}`, title: `Item ${i}`, text: "words ".repeat(40), content_type: `type ${i % 5}`,
    tags: [{ facet: "theme", label: `theme ${i % 17}` }, { facet: "mood", label: `mood ${i % 7}` }],
    vector: Array.from({ length: 64 }, (_, d) => Math.sin((i + 1) * (d + 1))),
  }));
  const server = await serve(recsys, "serve", { CATALOG_PATH: await catalogFile(folder, "heavy.jsonl", items) });
  const events = Array.from({ length: 5000 }, (_, i) => ({
    userId: "heavy", eventType: ["view", "purchase", "search", "like", "page view"][i % 5],
    ...(i % 5 === 2 ? { queryText: `query ${i}` } : { contentId: `i${i % 250}` }), eventTime: ago(i * 400 + 60), dwellSeconds: i % 50,
  }));
  await send(server, events);
  const page = await Console.open(browser, server.console);
  await page.fill("input[max='100']", "100");
  await page.user("heavy");
  must("100 items are listed", (await page.count(".items .item")) === 100, await page.count(".items .item"));
  const rows = await page.count("tbody tr");
  must("events are shown page by page", rows > 0 && rows <= 100, rows);
  const before = rows;
  await page.press("Show 50 more");
  await page.settled();
  must("the next page follows", (await page.count("tbody tr")) === before + 50, await page.count("tbody tr"));
  await page.picture(pictures, "heavy-user");
  const { long } = await page.watched();
  timing("longest task of the page", Math.max(0, ...long), 100);
  await page.close();
}

/** The pictures of the documentation. */
export async function docs({ recsys, browser, pictures, must, Console }) {
  const server = await serve(recsys, "quickstart");
  const folder = process.env.DOCS === "1" ? path.join(import.meta.dirname, "../../docs/images") : pictures;
  const page = await Console.open(browser, server.console, { width: 1120, height: 640, scale: 0.75 });
  await page.user("visitor-1");
  await page.picture(folder, "console-user");
  await page.page.evaluate(() => document.querySelector(".timeline").scrollIntoView({ block: "center" }));
  await page.picture(folder, "console-events");
  await page.view("data");
  await page.picture(folder, "console-data");
  await page.view("ranking");
  for (let more = 0; more < 4; more += 1) await page.press("More popular items");
  await pause(500);
  await page.settled();
  await page.page.evaluate(() => scrollTo(0, 0));
  await page.picture(folder, "console-ranking");
  must("the documentation's pictures are made", true);
  await page.close();
}
