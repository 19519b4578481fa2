// Tests the page in a headless Chromium, with its own recsys servers. Prints one line
// per case; exits with 1 if any fails.
//
// Usage: node drive.js RECSYS CHROMIUM FOLDER
// RECSYS and CHROMIUM are programs; FOLDER is for temporary files.

import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

import puppeteer from "puppeteer-core";

const [recsys, chromium, folder] = process.argv.slice(2);
// Limit for each step, to end a run that hangs.
const TIMEOUT_MS = 120_000;
const TYPES = { ".html": "text/html", ".js": "text/javascript" };

// Serves the page from another origin than recsys.
function pageServer() {
  const server = createServer(async (request, reply) => {
    const name = new URL(request.url, "http://x").pathname.slice(1) || "index.html";
    try {
      const file = await readFile(path.join(import.meta.dirname, "dist", path.basename(name)));
      reply.setHeader("content-type", TYPES[path.extname(name)] ?? "text/plain");
      reply.end(file);
    } catch {
      reply.writeHead(404).end();
    }
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      resolve({ origin: `http://127.0.0.1:${server.address().port}`, server });
    });
  });
}

// Creates a key with "recsys keys new", and a tenants file with it.
async function tenants(...roles) {
  const given = roles.flatMap((role) => ["--role", role]);
  const child = spawn(recsys, ["keys", "new", "shop", ...given], { env: {} });
  let [key, log] = ["", ""];
  child.stdout.on("data", (data) => (key += data));
  child.stderr.on("data", (data) => (log += data));
  await new Promise((resolve) => child.on("close", resolve));
  const entry = log.split("Add to the tenants file:")[1];
  const file = path.join(folder, "tenants.toml");
  await writeFile(file, `[tenants.shop]\ncollection = "shop"\n${entry}`);
  return { key: key.trim(), file };
}

// Starts recsys on a free port.
function serve(settings) {
  const child = spawn(recsys, ["serve", "--listen-addr", "127.0.0.1:0"], {
    env: { RECSYS_LOG_FORMAT: "text", ...settings },
    stdio: ["ignore", "ignore", "pipe"],
  });
  return new Promise((resolve, reject) => {
    let log = "";
    child.stderr.on("data", (data) => {
      log += data;
      const at = /serving gRPC address=(\S+)/.exec(log);
      if (at) resolve({ api: `http://${at[1]}`, child });
    });
    child.on("close", () => reject(new Error(`recsys exited:\n${log}`)));
  });
}

// Fills in the form and reads what the page shows.
async function ask(browser, origin, fields) {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  try {
    await page.goto(`${origin}/?${new URLSearchParams(fields)}`);
    await page.click("button");
    await page.waitForSelector("#status[data-state=done], #status[data-state=failed]");
    return await page.evaluate(() => ({
      state: document.querySelector("#status").dataset.state,
      status: document.querySelector("#status").textContent,
      list: [...document.querySelectorAll("#list li")].map((line) => line.textContent),
      faults: [...document.querySelectorAll("#faults li")].map((line) => line.textContent),
    }));
  } finally {
    await page.close();
  }
}

let failures = 0;
function must(what, holds, shown) {
  console.log(`${holds ? "ok    " : "FAILED"} ${what}`);
  if (holds) return;
  failures += 1;
  console.log(JSON.stringify(shown, null, 2));
}

const started = [];
const watchdog = setTimeout(() => {
  console.log("FAILED timed out");
  for (const child of started) child.kill("SIGKILL");
  process.exit(1);
}, 3 * TIMEOUT_MS);

const ours = await pageServer();
const strangers = await pageServer();
const { key, file } = await tenants("serve");
const settings = {
  RECSYS_TENANTS_PATH: file,
  RECSYS_GRPC_WEB: "true",
  RECSYS_CORS_ALLOW_ORIGINS: ours.origin,
};
const open = await serve(settings);
started.push(open.child);
const shut = await serve({ ...settings, RECSYS_GRPC_WEB: "false" });
started.push(shut.child);
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
  protocolTimeout: TIMEOUT_MS,
  timeout: TIMEOUT_MS,
});
try {
  const { api } = open;
  const good = { api, key, user: "ada" };
  let shown = await ask(browser, ours.origin, good);
  must("a page of a listed origin gets a list", shown.state === "done" && shown.list.length === 5, shown);
  must("each item has a score and its parts", shown.list.every((line) => /^.+ \(-?\d\.\d{3}/.test(line)), shown);

  shown = await ask(browser, ours.origin, { ...good, user: "x".repeat(257) });
  must(
    "an error reaches the page with its details",
    shown.status.startsWith("InvalidArgument INVALID_FIELD") &&
      shown.faults.includes("user_id: must be at most 256 bytes"),
    shown,
  );
  shown = await ask(browser, ours.origin, { ...good, key: "rsk_1_2" });
  must("a wrong key is rejected", shown.status.startsWith("Unauthenticated KEY_UNKNOWN"), shown);

  shown = await ask(browser, strangers.origin, good);
  must("a page of another origin gets no list", shown.state === "failed" && shown.list.length === 0, shown);
  must("a page of another origin sees no error details", !/INVALID|KEY_|user_id/.test(shown.status), shown);

  shown = await ask(browser, ours.origin, { ...good, api: shut.api });
  must("with gRPC-Web off, no page gets a list", shown.state === "failed" && shown.list.length === 0, shown);
} finally {
  await browser.close();
  for (const child of started) {
    child.removeAllListeners("close");
    child.kill();
  }
  ours.server.close();
  strangers.server.close();
  clearTimeout(watchdog);
}
process.exit(failures === 0 ? 0 : 1);
