// A client of recsys: sends a user's events, reads the user's model, gets a
// list with reasons, and shows the error of an invalid request.
//
// README.md describes how to run it; docs/guides/clients.md explains the connection settings.

import { parseArgs } from 'node:util';

import grpc from '@grpc/grpc-js';

import { connect, errorDetails } from './connect.js';

const SEED = 7;

function settings() {
  const from = process.env;
  const { values } = parseArgs({
    options: {
      // host:port, or several IPv4 addresses separated by commas
      addresses: { type: 'string', default: from.RECSYS_ADDRESSES || '127.0.0.1:50051' },
      // CA bundle for the server's certificate (PEM); enables TLS
      'ca-file': { type: 'string', default: from.RECSYS_CA_FILE || '' },
      // name in the server's certificate, if not the host name
      'server-name': { type: 'string', default: from.RECSYS_SERVER_NAME || '' },
      // id of the user to send events for
      user: { type: 'string', default: from.RECSYS_USER || 'ada' },
      // where the lists are shown: a name of the server's ranking file
      placement: { type: 'string', default: from.RECSYS_PLACEMENT || '' },
      // deadline of each call, including retries, in seconds
      timeout: { type: 'string', default: '10' },
      // how often to repeat the request for a list
      lists: { type: 'string', default: '5' },
    },
  });
  return {
    addresses: values.addresses,
    caFile: values['ca-file'],
    serverName: values['server-name'],
    user: values.user,
    placement: values.placement,
    timeoutMs: Number(values.timeout) * 1000,
    lists: Number(values.lists),
    key: from.RECSYS_KEY,
  };
}

// Returns a function that makes calls, each with a deadline and the key.
function caller(stub, { timeoutMs, key }) {
  return (method, request, { waitForReady = false } = {}) =>
    new Promise((resolve, reject) => {
      const metadata = new grpc.Metadata({ waitForReady });
      if (key) metadata.set('authorization', `Bearer ${key}`);
      const deadline = Date.now() + timeoutMs;
      stub[method](request, metadata, { deadline }, (error, reply) =>
        error ? reject(error) : resolve(reply),
      );
    });
}

// grpc-js does not read this option from the service config.
const WAIT_FOR_READY = { waitForReady: true };

function minutesAgo(minutes) {
  return { seconds: Math.floor(Date.now() / 1000) - 60 * minutes };
}

// Returns a finished view. Its event id makes it safe to send twice.
function view(user, name, item, minutes, dwellSeconds, endReason) {
  return {
    user_id: user,
    event_type: 'CONTENT_VIEW_ENDED',
    event_id: name,
    event_time: minutesAgo(minutes),
    content_id: item,
    dwell_seconds: dwellSeconds,
    end_reason: endReason,
  };
}

async function ingestABatch(call, user) {
  const first = view(user, 'view-1', '2004', 50, 45, 'END_REASON_NEXT_BUTTON');
  const events = [
    first,
    view(user, 'view-2', '2036', 40, 150, 'END_REASON_NEXT_BUTTON'),
    view(user, 'view-3', '2014', 30, 3, 'END_REASON_ABANDON'),
    first,
    view(user, 'view-4', '2099', 20, -1, 'END_REASON_LINK'),
  ];
  const { results } = await call('BatchIngestEvents', { events }, WAIT_FOR_READY);
  console.log('events sent in a batch');
  results.forEach(({ outcome, error }, index) => {
    console.log(`  ${events[index].event_id} ${short(outcome, 'INGEST_OUTCOME_')}`);
    if (!error) return;
    console.log(`    ${grpc.status[error.code]} ${error.reason}`);
    for (const { field, description } of error.violations) {
      console.log(`    ${field}: ${description}`);
    }
  });
}

async function readSignals(call, user) {
  const { signals, source } = await call('GetUserSignals', { user_id: user });
  console.log(`model ${short(source, 'SIGNALS_SOURCE_')} of ${signals.event_count} events`);
  console.log(`  liked ${Object.keys(signals.positives).sort().join(' ')}`);
  console.log(`  disliked ${Object.keys(signals.negatives).sort().join(' ')}`);
  const strongest = Object.entries(signals.tag_affinity).sort(
    ([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1),
  );
  for (const [tag, affinity] of strongest.slice(0, 3)) {
    console.log(`  ${affinity.toFixed(2)} ${tag}`);
  }
}

async function getLists(call, { user, placement, lists: howMany }) {
  const request = { user_id: user, placement, limit: 5, seed: SEED };
  const reply = await call('Recommend', request);
  console.log(`list ${short(reply.strategy, 'RECOMMEND_STRATEGY_')}`);
  for (const item of reply.items) {
    const like = item.similar_to ? ` like ${item.similar_to}` : '';
    const role = short(item.role, 'ITEM_ROLE_');
    console.log(`  ${item.rank}. ${item.content_id} ${item.score.toFixed(2)} ${role}${like}`);
  }

  let result = 'the same';
  for (let left = howMany; left > 0; left -= 1) {
    const again = await call('Recommend', request);
    if (ids(again).join() !== ids(reply).join()) result = 'DIFFERENT';
  }
  console.log(`${howMany} more with the same seed: ${result}`);
  return reply;
}

// Sends an event that follows from the list, with the list's id and all displayed items.
async function openTheFirst(call, user, list) {
  const event = {
    user_id: user,
    event_type: 'CONTENT_VIEW_STARTED',
    event_id: 'open-1',
    event_time: minutesAgo(1),
    request_id: list.request_id,
    content_id: list.items[0].content_id,
    impressions: ids(list),
  };
  const { outcome, buffered_events: kept } = await call('IngestEvent', { event }, WAIT_FOR_READY);
  console.log(`opened the first: ${short(outcome, 'INGEST_OUTCOME_')}, ${kept} events kept`);
}

// Moves what the user did before, as a visitor without an account, to the account.
async function logIn(call, user) {
  const visitor = `${user}-visitor`;
  const event = view(visitor, 'visit-1', '2020', 60, 45, 'END_REASON_NEXT_BUTTON');
  await call('IngestEvent', { event }, WAIT_FOR_READY);
  const merge = { from_user_id: visitor, into_user_id: user };
  const { moved_events: moved } = await call('MergeUsers', merge);
  console.log(`the visitor logged in: ${moved} event moved`);
}

async function askBadly(call, user) {
  const bad = { user_id: user, limit: 1000, near: { latitude: 91 }, radius_meters: -1 };
  try {
    await call('Recommend', bad);
  } catch (error) {
    console.log(`a bad request: ${grpc.status[error.code]}`);
    errorDetails(error).forEach(show);
  }
}

// Prints one detail of an error.
function show(detail) {
  if (detail.type === 'ErrorInfo') console.log(`  ${detail.reason} of ${detail.domain}`);
  if (detail.type !== 'BadRequest') return;
  for (const { field, description } of detail.field_violations) {
    console.log(`  ${field}: ${description}`);
  }
}

function ids(list) {
  return list.items.map((item) => item.content_id);
}

// Returns an enum value's name without the prefix.
function short(name, prefix) {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}

const given = settings();
const stub = connect(given);
const call = caller(stub, given);
await ingestABatch(call, given.user);
await readSignals(call, given.user);
const reply = await getLists(call, given);
await openTheFirst(call, given.user, reply);
await logIn(call, given.user);
await askBadly(call, given.user);
stub.close();
