// Calls of the server: the API as Connect JSON, and what only the console needs.

const TIMEOUT_MS = 15_000;

/** A call failed. `code` is Connect's name of the status. */
export class ApiError extends Error {
  constructor(code, message, { details = [], retryAfter, status } = {}) {
    super(message);
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
    this.status = status;
  }

  /** The fields that break rules, as `{field, description}`. */
  get violations() {
    return this.details.flatMap((detail) => detail.debug?.fieldViolations ?? []);
  }

  /** The stable name of the cause, such as INVALID_FIELD. */
  get reason() {
    return this.details.find((detail) => detail.debug?.reason)?.debug.reason;
  }
}

const CODES = {
  400: "invalid_argument", 401: "unauthenticated", 403: "permission_denied", 404: "not_found",
  408: "deadline_exceeded", 413: "resource_exhausted", 429: "resource_exhausted",
  500: "internal", 501: "unimplemented", 502: "unavailable", 503: "unavailable",
  504: "deadline_exceeded",
};

let csrf = "";
let signedOut = () => {};

/** Sets what runs when the server no longer knows the session. */
export function onSignedOut(listener) {
  signedOut = listener;
}

async function send(path, { method = "POST", body, signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { "x-recsys-console": "1" };
  if (csrf) headers["x-csrf-token"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  let reply;
  let text;
  try {
    reply = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
    text = await reply.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) throw new ApiError("deadline_exceeded", "No answer within 15 seconds.");
    throw new ApiError("unavailable", "The server cannot be reached. Is it running?");
  }
  let value = null;
  try {
    value = text === "" ? null : JSON.parse(text);
  } catch {
    // A reply that is not JSON comes from a proxy; its status says enough.
  }
  if (!reply.ok) {
    const code = value?.code ?? CODES[reply.status] ?? "unknown";
    const message = value?.message ?? `The server answered with HTTP status ${reply.status}.`;
    const error = new ApiError(code, message, {
      details: value?.details ?? [],
      retryAfter: Number(reply.headers.get("retry-after")) || undefined,
      status: reply.status,
    });
    if (code === "unauthenticated" && path !== "/console/login") signedOut();
    throw error;
  }
  if (value === null && text !== "") {
    throw new ApiError("internal", "The server's answer is not JSON.");
  }
  if (value?.csrf) csrf = value.csrf;
  return value;
}

/** What only the console needs, read. */
export const look = (name, signal) => send(`/console/${name}`, { method: "GET", signal });

/** What only the console needs, with a message. */
export const ask = (name, body = {}, signal) => send(`/console/${name}`, { body, signal });

/** A call of RecommenderService. */
export const recommender = (method, body, signal) =>
  send(`/recsys.v1.RecommenderService/${method}`, { body, signal });

/** A call of CatalogService. */
export const catalog = (method, body, signal) =>
  send(`/recsys.v1.CatalogService/${method}`, { body, signal });

/** Runs one call at a time: a new one aborts the one before. */
export class Latest {
  #current = null;

  /** Calls `work(signal)`. Returns undefined if another run has taken over. */
  async run(work) {
    this.#current?.abort();
    const current = new AbortController();
    this.#current = current;
    try {
      const result = await work(current.signal);
      return current.signal.aborted ? undefined : result;
    } catch (error) {
      if (current.signal.aborted) return undefined;
      throw error;
    }
  }

  stop() {
    this.#current?.abort();
  }
}
