import type { ClientDuplexStream, ClientReadableStream, ServiceDefinition, ServiceError } from '@grpc/grpc-js';
import type { MethodDefinition } from '@grpc/proto-loader';

import type { CatalogServiceDefinition } from '../generated/types/recsys/v1/CatalogService.js';
import type { ExportUserPagesRequest } from '../generated/types/recsys/v1/ExportUserPagesRequest.js';
import type { ExportUserPagesResponse__Output } from '../generated/types/recsys/v1/ExportUserPagesResponse.js';
import type { Struct } from '../generated/types/google/protobuf/Struct.js';
import type { IngestResult__Output } from '../generated/types/recsys/v1/IngestResult.js';
import type { InteractionEvent } from '../generated/types/recsys/v1/InteractionEvent.js';
import type { RecommenderServiceDefinition } from '../generated/types/recsys/v1/RecommenderService.js';
import type { StreamIngestEventsRequest } from '../generated/types/recsys/v1/StreamIngestEventsRequest.js';
import type { StreamIngestEventsResponse__Output } from '../generated/types/recsys/v1/StreamIngestEventsResponse.js';

export interface ClientOptions {
  /** A host name and port, all of whose addresses are used, or several IPv4 addresses,
   * each with a port, separated by commas: RECSYS_ADDRESSES, else 127.0.0.1:50051. */
  addresses?: string;
  /** The key, if the server requires one: RECSYS_KEY. */
  key?: string;
  /** Whether to connect over TLS and trust Node's CAs. */
  tls?: boolean;
  /** The CA certificates to trust instead (PEM); enables TLS: RECSYS_CA_FILE. */
  caFile?: string;
  /** The client's certificate, for mutual TLS: RECSYS_CERT_FILE. */
  certFile?: string;
  /** The key of that certificate: RECSYS_CERT_KEY_FILE. */
  certKeyFile?: string;
  /** The name in the server's certificate, if not the host name: RECSYS_SERVER_NAME. */
  serverName?: string;
  /** The deadline of unary calls, retries included, unless a call has its own. 10,000. */
  timeoutMs?: number;
}

export interface CallOptions {
  /** The deadline of this call, retries included. */
  timeoutMs?: number;
}

type Streaming = 'ExportUserPages' | 'StreamIngestEvents';

type UnaryCalls<Service> = {
  [Name in keyof Service as string extends Name
    ? never
    : Name extends Streaming
      ? never
      : Uncapitalize<Name & string>]: Service[Name] extends MethodDefinition<infer Request, any, any, infer Reply>
    ? (request: Request, options?: CallOptions) => Promise<Reply>
    : never;
};

export interface Client extends UnaryCalls<RecommenderServiceDefinition>, UnaryCalls<CatalogServiceDefinition> {
  /** Sends events of any users, at most 1,000; returns a result for each. An event without
   * an `event_id` gets one, in place: a retry counts once, and so does an event that you
   * send again. */
  ingest(events: InteractionEvent[], options?: CallOptions): Promise<IngestResult__Output[]>;
  exportUserPages(request: ExportUserPagesRequest): ClientReadableStream<ExportUserPagesResponse__Output>;
  streamIngestEvents(): ClientDuplexStream<StreamIngestEventsRequest, StreamIngestEventsResponse__Output>;
  /** Closes the connections after the calls in flight. */
  close(): void;
}

export const Client: new (options?: ClientOptions) => Client;

/** A call failed. `reason` is stable: compare it, not `message`. */
export class RecsysError extends Error {
  /** Reads an error of grpc-js. */
  constructor(error: ServiceError);
  /** The number of the status. */
  code: number;
  /** The name of the status, such as 'INVALID_ARGUMENT'. */
  status: string;
  /** The name of the cause, such as 'INVALID_FIELD'; empty if the error did not come from
   * recsys, such as "connection refused". */
  reason: string;
  /** Every rule that the request breaks. */
  violations: { field: string; description: string }[];
  /** Milliseconds after which the server expects a retry to succeed, if it sent a delay. */
  retryAfterMs?: number;
}

/** Returns a JSON object as a google.protobuf.Struct, for `attributes` and `survey_answers`. */
export function struct(object: Record<string, unknown>): Struct;

/** The definitions of the services, for a server in a test. */
export const services: { RecommenderService: ServiceDefinition; CatalogService: ServiceDefinition };
