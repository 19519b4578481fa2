// A page that shows recommendations for a user, with their reasons.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { RecommenderService } from "../gen/recsys/v1/recommender_pb.js";

const TIMEOUT_MS = 10_000;

const form = document.querySelector("#ask");
const status = document.querySelector("#status");

// Query parameters set the form's fields, as in ?user=ada.
for (const [name, value] of new URLSearchParams(location.search)) {
  if (form.elements[name]) form.elements[name].value = value;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

async function ask() {
  const { api, key, user } = Object.fromEntries(new FormData(form));
  show("asking", "…", [], []);
  const transport = createGrpcWebTransport({ baseUrl: api });
  const client = createClient(RecommenderService, transport);
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const request = { userId: user, limit: 5, includeContent: true };
  try {
    const list = await client.recommend(request, { headers, timeoutMs: TIMEOUT_MS });
    show("done", `${list.items.length} items for ${user}`, list.items.map(line), []);
  } catch (failed) {
    const error = ConnectError.from(failed);
    const reason = error.findDetails(ErrorInfoSchema)[0]?.reason;
    const faults = error
      .findDetails(BadRequestSchema)
      .flatMap((bad) => bad.fieldViolations)
      .map((violation) => `${violation.field}: ${violation.description}`);
    show("failed", `${Code[error.code]} ${reason ?? ""} ${error.rawMessage}`, [], faults);
  }
}

// An item with its score and the parts of the score.
function line(item) {
  const parts = Object.entries(item.breakdown)
    .filter(([, part]) => part !== 0)
    .map(([scorer, part]) => `${scorer} ${part.toFixed(2)}`);
  return `${item.content.title} (${[item.score.toFixed(3), ...parts].join(", ")})`;
}

function show(state, text, items, faults) {
  status.textContent = text;
  fill("#list", items);
  fill("#faults", faults);
  // Read by drive.js.
  status.dataset.state = state;
}

function fill(list, texts) {
  const lines = texts.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  });
  document.querySelector(list).replaceChildren(...lines);
}
