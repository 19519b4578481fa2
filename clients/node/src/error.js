import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const types = protoLoader.loadSync(fileURLToPath(new URL('details.proto', import.meta.url)), {
  keepCase: true,
  longs: Number,
  defaults: true,
});

// A call failed. `reason` is stable: compare it, not `message`.
export class RecsysError extends Error {
  // Reads an error of grpc-js.
  constructor(error) {
    super(error.details, { cause: error });
    this.name = 'RecsysError';
    // The number of the status, and its name, such as 'INVALID_ARGUMENT'.
    this.code = error.code;
    this.status = grpc.status[error.code];
    // The name of the cause, such as 'INVALID_FIELD'; empty if the error did not come from
    // recsys, such as "connection refused".
    this.reason = '';
    // Every rule that the request breaks: { field, description }.
    this.violations = [];
    // Milliseconds after which the server expects a retry to succeed, if it sent a delay.
    this.retryAfterMs = undefined;
    for (const { type_url: url, value } of details(error)) {
      const name = url.split('/').pop();
      if (types[name]) this.#read(name, types[name].deserialize(value));
    }
    this.message = `${this.status} ${this.reason}`.trim() + `: ${error.details}`;
  }

  #read(name, detail) {
    if (name === 'google.rpc.ErrorInfo') this.reason = detail.reason;
    if (name === 'google.rpc.BadRequest') this.violations = detail.field_violations;
    if (name === 'google.rpc.RetryInfo') {
      const { seconds, nanos } = detail.retry_delay;
      this.retryAfterMs = seconds * 1000 + nanos / 1e6;
    }
  }
}

function details(error) {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  return bytes ? types['google.rpc.Status'].deserialize(bytes).details : [];
}
