// Tests against a server in this process: npm test

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';

import { Client, RecsysError, services, struct } from '@recsys/client';

const KEY = 'shop_key';
const RULE = { field: 'limit', description: 'must be 1 to 100, or 0 for the default' };

// The wire form of google.rpc types, written here as the server writes it.
const rpc = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation field_violations = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
`, { keepCase: true }).root;

function encode(type, message) {
  const kind = rpc.lookupType(`google.rpc.${type}`);
  return kind.encode(kind.fromObject(message)).finish();
}

// An error as recsys sends it, with google.rpc details.
function refusal(code, details, message = `${RULE.field} ${RULE.description}`, more = {}) {
  const metadata = new grpc.Metadata();
  const packed = Object.entries(details).map(([type, detail]) => ({
    type_url: `type.googleapis.com/google.rpc.${type}`,
    value: encode(type, detail),
  }));
  const bytes = encode('Status', { code, message, details: packed });
  metadata.set('grpc-status-details-bin', Buffer.from(bytes));
  for (const [name, value] of Object.entries(more)) metadata.set(name, value);
  return Object.assign(new Error(message), { code, details: message, metadata });
}

let server, address, stored, sentIds, answers, lostReplies, deadline;
const clients = [];

const isAuthorized = (call) => call.metadata.get('authorization').includes(`Bearer ${KEY}`);

const implementation = {
  batchIngestEvents({ request }, reply) {
    const results = request.events.map(({ event_id: id, survey_answers: survey }) => {
      sentIds.push(id);
      answers = survey;
      const known = stored.has(id);
      stored.add(id);
      return { outcome: known ? 'INGEST_OUTCOME_DUPLICATE' : 'INGEST_OUTCOME_ACCEPTED' };
    });
    if (lostReplies > 0) {
      lostReplies -= 1;
      reply({ code: grpc.status.UNAVAILABLE, details: 'the reply is lost' });
    } else {
      reply(null, { results });
    }
  },
  recommend(call, reply) {
    const { user_id: user, limit } = call.request;
    deadline = call.getDeadline();
    if (!isAuthorized(call)) {
      reply(refusal(grpc.status.UNAUTHENTICATED, { ErrorInfo: { reason: 'KEY_UNKNOWN' } }));
    } else if (limit > 100) {
      reply(refusal(grpc.status.INVALID_ARGUMENT, {
        ErrorInfo: { reason: 'INVALID_FIELD', domain: 'recsys.v1' },
        BadRequest: { field_violations: [RULE] },
      }));
    } else if (user === 'over quota') {
      reply(refusal(grpc.status.RESOURCE_EXHAUSTED, {
        ErrorInfo: { reason: 'QUOTA_EXCEEDED' },
        RetryInfo: { retry_delay: { seconds: 1, nanos: 500_000_000 } },
        // The library must not retry this one.
      }, 'too many calls', { 'grpc-retry-pushback-ms': '-1' }));
    } else if (user !== 'slow') {
      reply(null, { request_id: 'list' });
    }
  },
  exportUserPages(call) {
    call.write({ stored_model: String(isAuthorized(call)) });
    call.end();
  },
};

function connect(options) {
  const client = new Client({ addresses: address, ...options });
  clients.push(client);
  return client;
}

async function failure(call) {
  const error = await call.then(() => assert.fail('it succeeds'), (reason) => reason);
  assert.ok(error instanceof RecsysError, error);
  return error;
}

beforeEach(async () => {
  [stored, sentIds, lostReplies] = [new Set(), [], 0];
  server = new grpc.Server();
  server.addService(services.RecommenderService, implementation);
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  address = `127.0.0.1:${port}`;
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  server.forceShutdown();
});

test('an event whose reply is lost is retried and counts once', async () => {
  lostReplies = 1;
  const event = { user_id: 'ada', event_type: 'purchase', content_id: '2004' };
  const [{ outcome }] = await connect().ingest([event]);
  assert.equal(outcome, 'INGEST_OUTCOME_DUPLICATE');
  assert.deepEqual(sentIds, [event.event_id, event.event_id]);
  assert.deepEqual([...stored], [event.event_id]);
});

test('events keep their ids and others get one each', async () => {
  const events = [{ event_id: 'view-1' }, {}, {}];
  const client = connect();
  await client.ingest(events);
  await client.ingest([events[1]]);
  assert.equal(sentIds[0], 'view-1');
  assert.equal(new Set(sentIds).size, 3);
  assert.ok(sentIds.every((id) => id));
  assert.equal(sentIds[3], sentIds[1]);
});

test('a struct has the values of the object', async () => {
  const given = { price: 89.5, sizes: ['S', 'M'], sale: true, stock: { nl: 3 }, note: null };
  await connect().ingest([{ survey_answers: struct(given) }]);
  const { price, sizes, sale, stock, note } = answers.fields;
  assert.equal(price.numberValue, 89.5);
  assert.deepEqual(sizes.listValue.values.map((value) => value.stringValue), ['S', 'M']);
  assert.equal(sale.boolValue, true);
  assert.equal(stock.structValue.fields.nl.numberValue, 3);
  assert.equal(note.nullValue, 'NULL_VALUE');
  assert.throws(() => struct({ price: undefined }), TypeError);
});

test('every call has a deadline', async () => {
  const client = connect({ key: KEY });
  const before = Date.now();
  await client.recommend({});
  assert.ok(deadline < before + 60_000);
  await client.recommend({}, { timeoutMs: 500_000 });
  assert.ok(deadline > before + 400_000);
});

test('a call ends at its deadline', async () => {
  const call = connect({ key: KEY }).recommend({ user_id: 'slow' }, { timeoutMs: 200 });
  assert.equal((await failure(call)).status, 'DEADLINE_EXCEEDED');
});

test('calls and streams send the key', async () => {
  const client = connect({ key: KEY });
  assert.equal((await client.recommend({})).request_id, 'list');
  for await (const page of client.exportUserPages({ user_id: 'ada' })) {
    assert.equal(page.stored_model, 'true');
  }
  const error = await failure(connect().recommend({}));
  assert.deepEqual([error.status, error.reason], ['UNAUTHENTICATED', 'KEY_UNKNOWN']);
});

test('an error names its reason and every broken rule', async () => {
  const error = await failure(connect({ key: KEY }).recommend({ limit: 1000 }));
  assert.deepEqual([error.code, error.status], [3, 'INVALID_ARGUMENT']);
  assert.equal(error.reason, 'INVALID_FIELD');
  assert.deepEqual(error.violations.map((rule) => ({ ...rule })), [RULE]);
  assert.equal(error.message, 'INVALID_ARGUMENT INVALID_FIELD: limit must be 1 to 100, or 0 for the default');
  assert.equal(error.retryAfterMs, undefined);
});

test('an error has the delay after which to retry', async () => {
  const error = await failure(connect({ key: KEY }).recommend({ user_id: 'over quota' }));
  assert.deepEqual([error.reason, error.retryAfterMs], ['QUOTA_EXCEEDED', 1500]);
});

test('an error of the connection has no reason', async () => {
  const error = await failure(connect({ addresses: '127.0.0.1:1' }).recommend({}));
  assert.deepEqual([error.status, error.reason], ['UNAVAILABLE', '']);
});

test('a client certificate without TLS is refused', () => {
  assert.throws(() => new Client({ certFile: 'client.pem' }), /needs tls/);
});
