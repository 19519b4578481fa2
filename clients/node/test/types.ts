// Compiled by `npm test`: the types of the package.

import { Client, RecsysError, struct } from '@recsys/client';

const client = new Client({ addresses: '127.0.0.1:50051', timeoutMs: 500 });
const { items, request_id } = await client.recommend({ user_id: 'ada', limit: 5 }, { timeoutMs: 300 });
const ids: string[] = items.map((item) => item.content_id);
const [{ outcome }] = await client.ingest([{ user_id: 'ada', request_id, impressions: ids }]);
const accepted: boolean = outcome === 'INGEST_OUTCOME_ACCEPTED';
await client.updateItems({ updates: [{ item: { content_id: '2004', attributes: struct({ price: 89.5 }) } }] });
await client.deleteItems({ content_ids: ids });
for await (const page of client.exportUserPages({ user_id: 'ada' })) console.log(page, accepted);
client.close();

export function reasonOf(error: unknown): string {
  return error instanceof RecsysError ? error.reason : '';
}

// @ts-expect-error: the field does not exist
client.recommend({ user: 'ada' });
// @ts-expect-error: the call does not exist
client.recommendItems({});
