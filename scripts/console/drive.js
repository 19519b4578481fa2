// Tests the console's page. Prints one line per case; exits with 1 if any fails.
//
// Usage: node drive.js RECSYS CHROMIUM FOLDER PICTURES
// RECSYS and CHROMIUM are programs; FOLDER is for temporary files, PICTURES for
// screenshots.

import { readdir, stat } from "node:fs/promises";
import path from "node:path";

import { Console, VIEWS, launch } from "./browser.js";
import * as cases from "./cases.js";
import { stopAll } from "./servers.js";

const [recsys, chromium, folder, pictures] = process.argv.slice(2);
const LIMIT_MS = 900_000;
const MAX_BYTES = 120 * 1024;

let failures = 0;

/** Reports whether something holds; if not, with what was seen instead. */
function must(what, holds, seen) {
  console.log(`${holds ? "ok    " : "FAILED"} ${what}`);
  if (holds) return;
  failures += 1;
  console.log(`       ${(JSON.stringify(seen, null, 1) ?? "").slice(0, 4000)}`);
}

/** Fails only with TIMING=1, since a busy machine says nothing of the page. */
function timing(what, ms, limit) {
  const holds = ms <= limit;
  if (process.env.TIMING === "1") must(`${what}: ${ms} ms of at most ${limit}`, holds, ms);
  else console.log(`${holds ? "ok    " : "slow  "} ${what}: ${ms} ms of at most ${limit}`);
}

async function size() {
  const assets = path.join(import.meta.dirname, "../../src/http/console/assets");
  let bytes = 0;
  for (const file of await readdir(assets)) bytes += (await stat(path.join(assets, file))).size;
  must(`the page's files have at most ${MAX_BYTES} bytes`, bytes <= MAX_BYTES, bytes);
}

const watchdog = setTimeout(() => {
  console.log("FAILED timed out");
  stopAll();
  process.exit(1);
}, LIMIT_MS);

const browser = await launch(chromium);
const only = process.env.ONLY?.split(",");
try {
  await size();
  for (const [name, run] of Object.entries(cases)) {
    if (only && !only.includes(name)) continue;
    console.log(`-- ${name}`);
    try {
      await run({ recsys, browser, folder, pictures, must, timing, Console, VIEWS });
    } catch (error) {
      must(`${name} runs to its end`, false, error.stack);
    }
    stopAll();
  }
} finally {
  await browser.close();
  stopAll();
  clearTimeout(watchdog);
}
process.exit(failures === 0 ? 0 : 1);
