// Opens the channel and decodes error details.

import fs from 'node:fs';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { getProtoPath } from 'google-proto-files';

const PROTO = new URL('../../../proto', import.meta.url).pathname;
const SERVICE_CONFIG = new URL('../service_config.json', import.meta.url);
const LARGEST_REPLY_BYTES = 64 * 1024 * 1024;

const api = grpc.loadPackageDefinition(
  protoLoader.loadSync('recsys/v1/recommender.proto', {
    includeDirs: [PROTO],
    keepCase: true,
    enums: String,
    longs: Number,
    defaults: true,
  }),
);

// The google.rpc types of error details.
const details = protoLoader.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], {
  includeDirs: [getProtoPath('..')],
  keepCase: true,
  defaults: true,
});

// Returns a stub on the one channel of the process, which holds a connection to each
// address.
export function connect({ addresses, caFile, serverName }) {
  // A name may resolve to several addresses: all of them are used.
  const several = addresses.includes(',');
  const target = several ? `ipv4:${addresses}` : `dns:///${addresses}`;
  const options = {
    'grpc.service_config': fs.readFileSync(SERVICE_CONFIG, 'utf8'),
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.max_receive_message_length': LARGEST_REPLY_BYTES,
  };
  if (serverName) {
    options['grpc.default_authority'] = serverName;
    options['grpc.ssl_target_name_override'] = serverName;
  }
  const credentials = caFile
    ? grpc.credentials.createSsl(fs.readFileSync(caFile))
    : grpc.credentials.createInsecure();
  return new api.recsys.v1.RecommenderService(target, credentials, options);
}

// Returns the details of an error, each with its type's name, such as "BadRequest".
export function errorDetails(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  if (!bytes) return [];
  const status = details['google.rpc.Status'].deserialize(bytes);
  return status.details.map((detail) => {
    const type = detail.type_url.split('/').pop();
    const known = details[type];
    return { type: type.split('.').pop(), ...known?.deserialize(detail.value) };
  });
}
