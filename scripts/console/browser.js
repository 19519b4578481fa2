// The page in a browser: opening views, and what must hold of each.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";

import puppeteer from "puppeteer-core";

const TIMEOUT_MS = 60_000;
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const VIEWS = ["user", "data", "item", "ranking", "results", "health"];

export function launch(chromium) {
  return puppeteer.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"],
    protocolTimeout: TIMEOUT_MS,
    timeout: TIMEOUT_MS,
  });
}

// Runs in the page before its own scripts.
function watch() {
  window.watched = { long: [], violations: [] };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.watched.long.push(Math.round(entry.duration));
  }).observe({ type: "longtask", buffered: true });
  document.addEventListener("securitypolicyviolation", (event) => {
    window.watched.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
  });
}

export class Console {
  static async open(browser, address, { width = 1280, height = 800, scheme = "light", scale = 1 } = {}) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    await page.setViewport({ width, height, deviceScaleFactor: scale });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.evaluateOnNewDocument(watch);
    const shown = new Console();
    Object.assign(shown, { page, context, address, errors: [], requests: [] });
    page.on("pageerror", (error) => shown.errors.push(String(error)));
    page.on("dialog", (dialog) => {
      shown.errors.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (request) => shown.requests.push({
      url: request.url(), picture: request.resourceType() === "image",
    }));
    await page.goto(`${address}/`);
    await shown.settled();
    return shown;
  }

  close() {
    return this.context.close();
  }

  /** Waits until nothing loads and nothing is appended any more. */
  async settled() {
    await this.page.evaluate(() => (window.settledAt = undefined));
    await this.page.waitForFunction(() => {
      const main = document.querySelector("main");
      if (main.querySelector(".boot, .view:not([hidden]) .loading, .view:not([hidden]) [aria-busy]")) {
        window.settledAt = undefined;
        return false;
      }
      const now = main.getElementsByTagName("*").length;
      if (window.settledAt?.count !== now) window.settledAt = { count: now, since: performance.now() };
      return performance.now() - window.settledAt.since > 250;
    }, { polling: 50 });
  }

  async view(name) {
    await this.page.click(`#nav a[href="#${name}"]`);
    const title = { user: "Try a user" }[name] ?? name[0].toUpperCase() + name.slice(1);
    await this.page.waitForFunction((shown) =>
      document.querySelector("main .view:not([hidden]) h1")?.textContent === shown, {}, title);
    await this.settled();
  }

  async user(id) {
    if (!(await this.text("h1")).includes("Try")) await this.view("user");
    await this.fill("#user-id", id);
    await this.page.keyboard.press("Enter");
    await this.settled();
  }

  async item(id) {
    if (!(await this.text("h1")).includes("Item")) await this.view("item");
    await this.fill("#item-id", id);
    await this.page.keyboard.press("Enter");
    await this.settled();
  }

  async fill(selector, value) {
    await this.page.$eval(selector, (input) => {
      input.value = "";
      input.focus();
    });
    await this.page.type(selector, value);
  }

  /** The text of the first such element of the shown view, or of the whole view. */
  text(selector = "") {
    return this.page.evaluate((of) => {
      const view = document.querySelector("main .view:not([hidden])") ?? document.querySelector("main");
      const node = of === "" ? view : view.querySelector(of);
      return (node?.innerText ?? "").replace(/\s+/g, " ").trim();
    }, selector);
  }

  texts(selector) {
    return this.page.evaluate((of) => {
      const view = document.querySelector("main .view:not([hidden])") ?? document.querySelector("main");
      return [...view.querySelectorAll(of)].map((node) => node.innerText.replace(/\s+/g, " ").trim());
    }, selector);
  }

  count(selector) {
    return this.page.evaluate((of) =>
      document.querySelectorAll(`main .view:not([hidden]) ${of}`).length, selector);
  }

  click(selector) {
    return this.page.click(`main .view:not([hidden]) ${selector}`);
  }

  /** Clicks the button that shows this text. */
  async press(label) {
    const handle = await this.page.evaluateHandle((text) =>
      [...document.querySelectorAll("button, summary")].find((node) =>
        node.textContent.trim().startsWith(text) && node.checkVisibility()), label);
    const button = handle.asElement();
    if (!button) throw new Error(`no button “${label}”`);
    await button.click();
  }

  /** What axe-core finds wrong, as "rule: element". */
  async accessibility() {
    // Evaluated by the debugger, since the page's policy allows no other script.
    await this.page.evaluate(axe);
    return this.page.evaluate(async () => {
      const found = await window.axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      });
      return found.violations.flatMap((rule) => rule.nodes.slice(0, 3).map((node) =>
        `${rule.id}: ${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ""}`));
    });
  }

  /**
   * The controls below 24 x 24 pixels (WCAG 2.2, 2.5.8). axe-core excuses a small one with
   * enough space around it, and that space changes with the data.
   */
  smallTargets() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll("button, select, summary, textarea, input:not([type=checkbox], [type=radio])")]
        .filter((node) => node.checkVisibility() && !node.closest(".sr"))
        .map((node) => ({ node, box: node.getBoundingClientRect() }))
        .filter(({ box }) => box.height < 24 || box.width < 24)
        .map(({ node, box }) => `${box.width} x ${box.height}: ${node.outerHTML.slice(0, 160)}`));
  }

  /** How far the page is wider than the window, in pixels. */
  overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  watched() {
    return this.page.evaluate(() => window.watched);
  }

  /** Requests to another host than the console's that are not for an item's picture. */
  strayRequests() {
    return this.requests.filter(({ url, picture }) =>
      !url.startsWith(`${this.address}/`) && !url.startsWith("data:") && !url.startsWith("blob:") && !picture);
  }

  async picture(folder, name, options = {}) {
    await this.page.evaluate(() => document.activeElement?.blur());
    await this.page.screenshot({ path: path.join(folder, `${name}.png`), ...options });
  }
}
