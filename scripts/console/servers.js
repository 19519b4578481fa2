// Starts what the tests need: recsys, Redis, and the data that a case is about.

import { spawn } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

const WAIT_MS = 60_000;
const children = new Set();

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Calls `probe` until it returns something, and returns that. */
export async function until(what, probe) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const found = await probe().catch(() => undefined);
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(50);
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function start(program, args, env) {
  const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  child.log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => (child.log += data));
  }
  children.add(child);
  child.on("close", () => children.delete(child));
  return child;
}

export function stop(child) {
  if (!children.has(child)) return Promise.resolve();
  return new Promise((resolve) => {
    child.on("close", resolve);
    child.kill();
  });
}

export function stopAll() {
  for (const child of children) child.kill("SIGKILL");
}

/** A recsys with its console. Returns the addresses of the API and of the console. */
export async function recsys(program, command, settings = {}) {
  const [apiPort, consolePort] = [await freePort(), await freePort()];
  const child = start(program, [command], {
    PATH: process.env.PATH,
    RECSYS_LOG_FORMAT: "text",
    RECSYS_LISTEN_ADDR: `127.0.0.1:${apiPort}`,
    RECSYS_CONSOLE_ADDR: `127.0.0.1:${consolePort}`,
    ...settings,
  });
  const [api, console] = [`http://127.0.0.1:${apiPort}`, `http://127.0.0.1:${consolePort}`];
  await until("the console", async () => {
    if (child.exitCode !== null) throw new Error(`recsys exited:\n${child.log}`);
    return (await fetch(`${console}/`)).ok;
  });
  await until("the API", async () => /serving gRPC|Serving on/.test(child.log));
  // The quickstart serves its console before its tour is over.
  if (command === "quickstart") await until("the tour", async () => child.log.includes("Serving on"));
  const folder = await mkdtemp(path.join(tmpdir(), "recsys-console-"));
  return { api, console, child, program, folder };
}

export async function redis(server) {
  const port = await freePort();
  const child = start(server, ["--port", String(port), "--save", "", "--appendonly", "no"], process.env);
  await until("Redis", async () => child.log.includes("Ready to accept connections"));
  return { url: `redis://127.0.0.1:${port}`, child };
}

/** Sends events to a server, in their order. */
export async function send(server, events) {
  const file = path.join(server.folder, `events-${sent++}.jsonl`);
  await writeFile(file, events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  const child = start(server.program, ["events", "import", file, "--to", server.api, "--restart"], {});
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`events import exited with ${code}:\n${child.log}`);
}

let sent = 0;

/** Makes keys of a tenant "shop", and a tenants file with them. */
export async function tenants(program, folder, collection, ...rolesOfKeys) {
  const keys = [];
  let entries = "";
  for (const roles of rolesOfKeys) {
    const child = start(program, ["keys", "new", "shop", ...roles.flatMap((role) => ["--role", role])], {});
    let key = "";
    let log = "";
    child.stdout.on("data", (data) => (key += data));
    child.stderr.on("data", (data) => (log += data));
    await new Promise((resolve) => child.on("close", resolve));
    keys.push(key.trim());
    entries += log.split("Add to the tenants file:")[1];
  }
  const file = path.join(folder, `tenants-${keys.length}.toml`);
  await writeFile(file, `[tenants.shop]\ncollection = "${collection}"\n${entries}`);
  return { keys, file };
}

export async function catalogFile(folder, name, items) {
  const file = path.join(folder, name);
  await writeFile(file, items.map((item) => `${JSON.stringify(item)}\n`).join(""));
  return file;
}
