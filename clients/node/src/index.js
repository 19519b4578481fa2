// A client of recsys: a well-configured channel, and errors that can be read.

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

import { RecsysError } from './error.js';

export { RecsysError };

const GENERATED = new URL('../generated/', import.meta.url);
const LARGEST_REPLY_BYTES = 16 * 1024 * 1024;

const { recsys } = grpc.loadPackageDefinition(
  protoLoader.loadSync(['recsys/v1/recommender.proto', 'recsys/v1/catalog.proto'], {
    includeDirs: [fileURLToPath(new URL('proto', GENERATED))],
    keepCase: true,
    enums: String,
    longs: Number,
    defaults: true,
  }),
);

// The definitions of the services, for a server in a test.
export const services = {
  RecommenderService: recsys.v1.RecommenderService.service,
  CatalogService: recsys.v1.CatalogService.service,
};

// Makes the calls of both services, such as `await client.recommend({ user_id: 'ada' })`.
// Create one for each process. Failed calls reject with a RecsysError. Each call is retried
// as service_config.json says. index.d.ts describes the options.
export class Client {
  #stubs;

  constructor({
    addresses = process.env.RECSYS_ADDRESSES || '127.0.0.1:50051',
    key = process.env.RECSYS_KEY,
    tls = false,
    caFile = process.env.RECSYS_CA_FILE,
    certFile = process.env.RECSYS_CERT_FILE,
    certKeyFile = process.env.RECSYS_CERT_KEY_FILE,
    serverName = process.env.RECSYS_SERVER_NAME,
    timeoutMs = 10_000,
  } = {}) {
    const several = addresses.includes(',');
    const target = several ? `ipv4:${addresses}` : `dns:///${addresses}`;
    const options = {
      'grpc.service_config': fs.readFileSync(new URL('service_config.json', GENERATED), 'utf8'),
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': LARGEST_REPLY_BYTES,
    };
    if (serverName) {
      options['grpc.default_authority'] = serverName;
      options['grpc.ssl_target_name_override'] = serverName;
    }
    const credentials = transport({ tls, caFile, certFile, certKeyFile });
    const { RecommenderService, CatalogService } = recsys.v1;
    const recommender = new RecommenderService(target, credentials, options);
    const channelOverride = recommender.getChannel();
    const catalog = new CatalogService(target, credentials, { channelOverride });
    this.#stubs = [recommender, catalog];
    for (const stub of this.#stubs) {
      for (const method of Object.values(stub.constructor.service)) {
        this[method.originalName] = caller(stub, method, { key, timeoutMs });
      }
    }
  }

  // Sends events of any users, at most 1,000; returns a result for each.
  //
  // An event without an `event_id` gets one, in place: a retry counts once, and so does an
  // event that you send again.
  async ingest(events, options) {
    for (const event of events) event.event_id ||= randomUUID();
    return (await this.batchIngestEvents({ events }, options)).results;
  }

  // Closes the connections after the calls in flight.
  close() {
    for (const stub of this.#stubs) stub.close();
  }
}

// Returns a JSON object as a google.protobuf.Struct, for `attributes` and `survey_answers`.
export function struct(object) {
  const fields = Object.entries(object).map(([name, value]) => [name, structValue(value)]);
  return { fields: Object.fromEntries(fields) };
}

function structValue(value) {
  if (value === null) return { nullValue: 'NULL_VALUE' };
  if (Array.isArray(value)) return { listValue: { values: value.map(structValue) } };
  if (typeof value === 'object') return { structValue: struct(value) };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'string') return { stringValue: value };
  throw new TypeError(`${typeof value} is not JSON`);
}

function transport({ tls, caFile, certFile, certKeyFile }) {
  if (!tls && !caFile) {
    if (certFile || certKeyFile) throw new Error('a client certificate needs tls or caFile');
    return grpc.credentials.createInsecure();
  }
  const read = (file) => (file ? fs.readFileSync(file) : null);
  return grpc.credentials.createSsl(read(caFile), read(certKeyFile), read(certFile));
}

// Returns the function that makes the calls of a method.
function caller(stub, method, { key, timeoutMs }) {
  // grpc-js does not read this option from the service config.
  const waitForReady = /IngestEvents?$/.test(method.path);
  const metadata = () => {
    const made = new grpc.Metadata({ waitForReady });
    if (key) made.set('authorization', `Bearer ${key}`);
    return made;
  };
  if (method.requestStream) return () => stub[method.originalName](metadata());
  if (method.responseStream) return (request) => stub[method.originalName](request, metadata());
  return (request, { timeoutMs: own = timeoutMs } = {}) =>
    new Promise((resolve, reject) => {
      const deadline = Date.now() + own;
      stub[method.originalName](request, metadata(), { deadline }, (error, reply) =>
        error ? reject(new RecsysError(error)) : resolve(reply),
      );
    });
}
