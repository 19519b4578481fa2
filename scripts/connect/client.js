// Calls recsys with Connect's clients: of browsers and of Node, over HTTP/1.1 and HTTP/2,
// with JSON and protobuf. Prints one line per case; exits with 1 if any fails.
//
// Usage: node client.js RECSYS FOLDER
// RECSYS is the program. FOLDER has the descriptors of the API and of the details of
// errors, api.binpb and errors.binpb, and is for temporary files.

import { spawn, spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { compressionGzip, createConnectTransport as ofNode } from "@connectrpc/connect-node";
import { createConnectTransport as ofWeb } from "@connectrpc/connect-web";

const [recsys, folder] = process.argv.slice(2);
const WAIT_MS = 60_000;

let failures = 0;

function must(what, holds, seen) {
  console.log(`${holds ? "ok    " : "FAILED"} ${what}`);
  if (holds) return;
  failures += 1;
  console.log(`       ${String(seen?.stack ?? JSON.stringify(seen)).slice(0, 2000)}`);
}

// Makes a key of a tenant "shop", and a tenants file with it.
async function tenants(...roles) {
  const given = roles.flatMap((role) => ["--role", role]);
  const made = spawnSync(recsys, ["keys", "new", "shop", ...given], { env: {}, encoding: "utf8" });
  const entry = made.stderr.split("Add to the tenants file:")[1];
  const file = path.join(folder, "tenants.toml");
  await writeFile(file, `[tenants.shop]\ncollection = "shop"\n${entry}`);
  return { key: made.stdout.trim(), file };
}

// Starts recsys on a free port.
function serve(settings) {
  const child = spawn(recsys, ["serve", "--listen-addr", "127.0.0.1:0"], {
    env: { RECSYS_LOG_FORMAT: "text", ...settings },
    stdio: ["ignore", "ignore", "pipe"],
  });
  process.on("exit", () => child.kill());
  return new Promise((resolve, reject) => {
    let log = "";
    child.stderr.on("data", (data) => {
      log += data;
      const at = /serving gRPC address=(\S+)/.exec(log);
      if (at) resolve(`http://${at[1]}`);
    });
    child.on("close", () => reject(new Error(`recsys exited:\n${log}`)));
  });
}

async function registry(name) {
  const bytes = await readFile(path.join(folder, name));
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
}

const service = (await registry("api.binpb")).getService("recsys.v1.RecommenderService");
const details = await registry("errors.binpb");
const errorInfo = details.getMessage("google.rpc.ErrorInfo");
const badRequest = details.getMessage("google.rpc.BadRequest");

const failed = (call) => call.then(() => undefined, (error) => ConnectError.from(error));

/** What every client must get. */
async function calls(name, transport, { key } = {}) {
  const client = createClient(service, transport);
  const headers = key ? { "x-api-key": key } : {};
  const user = `ada-${name}`;
  const event = { userId: user, eventType: "LIKE", contentId: "2001" };
  const sent = await client.ingestEvent({ event }, { headers });
  must(`${name}: an event is accepted`, sent.bufferedEvents === 1, sent);
  const list = await client.recommend({ userId: user, limit: 30, includeContent: true }, { headers, timeoutMs: WAIT_MS });
  must(`${name}: a list has items with their content`,
    list.items.length === 30 && list.items.every((item) => item.content?.contentId === item.contentId && item.score > -10), list);

  const invalid = await failed(client.recommend({ userId: user, limit: 1_000 }, { headers }));
  must(`${name}: an error has its code`, invalid?.code === Code.InvalidArgument, invalid);
  const [info] = invalid.findDetails(errorInfo);
  must(`${name}: and its reason`, info?.reason === "INVALID_FIELD" && info.domain === "recsys.v1", info);
  const [bad] = invalid.findDetails(badRequest);
  must(`${name}: and the field`, bad?.fieldViolations[0]?.field === "limit", bad);
  const unknown = await failed(client.similarItems({ contentId: "nothing" }, { headers }));
  must(`${name}: an unknown item is not found`, unknown?.code === Code.NotFound, unknown);
  const late = await failed(client.recommend({ userId: user }, { headers: { ...headers, "connect-timeout-ms": "0" } }));
  must(`${name}: a deadline that has passed ends the call`, late?.code === Code.DeadlineExceeded, late);
}

const open = await serve({});
const { key, file } = await tenants("ingest", "serve");
const keyed = await serve({ RECSYS_TENANTS_PATH: file, CATALOG_PATH: "assets/sample-catalogue.jsonl" });
const gzip = { acceptCompression: [compressionGzip], sendCompression: compressionGzip, compressMinBytes: 0 };
for (const useBinaryFormat of [false, true]) {
  const format = useBinaryFormat ? "protobuf" : "json";
  await calls(`connect-web-${format}`, ofWeb({ baseUrl: open, useBinaryFormat }));
  for (const httpVersion of ["1.1", "2"]) {
    const name = `connect-node-${httpVersion}-${format}`;
    await calls(name, ofNode({ baseUrl: open, httpVersion, useBinaryFormat, ...gzip }));
  }
}
await calls("with-a-key", ofNode({ baseUrl: keyed, httpVersion: "2", useBinaryFormat: false }), { key });
const stranger = createClient(service, ofNode({ baseUrl: keyed, httpVersion: "1.1", useBinaryFormat: false }));
const refused = await failed(stranger.recommend({ userId: "ada" }));
must("without a key a call is unauthenticated", refused?.code === Code.Unauthenticated, refused);
const beyond = await failed(stranger.getUserSignals({ userId: "ada" }, { headers: { "x-api-key": key } }));
must("a key without the role is denied", beyond?.code === Code.PermissionDenied, beyond);
process.exit(failures === 0 ? 0 : 1);
