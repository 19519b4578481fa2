// What a shop asks of recsys: node shop.js [USER]

import { Client, RecsysError, struct } from '@recsys/client';

// Sends events. Their ids are the shop's own, so that sending them again is safe.
async function sendEvents(recsys, user) {
  const events = [
    { user_id: user, event_type: 'purchase', content_id: '2004', event_id: 'order-1' },
    { user_id: user, event_type: 'add_to_cart', content_id: '2036', event_id: 'cart-1' },
    { user_id: user, event_type: 'purchase', content_id: '2004', event_id: 'order-1' },
    { user_id: user, event_type: 'page_view', content_id: '2014', event_id: 'view-1', dwell_seconds: -1 },
  ];
  const results = await recsys.ingest(events);
  console.log('events');
  results.forEach(({ outcome, error }, index) => {
    console.log(`  ${events[index].event_id} ${outcome.replace('INGEST_OUTCOME_', '')}`);
    for (const { field, description } of error?.violations ?? []) {
      console.log(`    ${field}: ${description}`);
    }
  });
}

// The home page of a user who is known.
async function readList(recsys, user) {
  show('for the user', await recsys.recommend({ user_id: user, limit: 3, seed: 7, include_content: true }));
}

// What resembles the item of this page.
async function productPage(recsys, user) {
  show('like 2004', await recsys.similarItems({
    content_id: '2004', user_id: user, limit: 3, seed: 7, include_content: true,
  }));
}

// What goes with the items in the user's basket.
async function basket(recsys, user) {
  show('with the basket', await recsys.recommend({
    user_id: user, context_ids: ['2036', '2043'], limit: 3, seed: 7, include_content: true,
  }));
}

// A list for somebody without an id, from the items of this session.
async function visitorSession(recsys) {
  show('for a visitor', await recsys.recommend({
    context_ids: ['2011', '2043'], limit: 3, seed: 7, include_content: true,
  }));
}

// Moves what a visitor did to the account.
async function logIn(recsys, user) {
  const visitor = `${user}-visitor`;
  await recsys.ingest([{ user_id: visitor, event_type: 'page_view', content_id: '2020', event_id: 'visit-1' }]);
  const { moved_events: moved } = await recsys.mergeUsers({ from_user_id: visitor, into_user_id: user });
  console.log(`login: ${moved} event moved`);
}

// A new price; the item's other fields stay.
async function changePrice(recsys) {
  const item = { content_id: '2004', attributes: struct({ price: 89.5 }) };
  const { results } = await recsys.updateItems({ updates: [{ item }] });
  console.log(`price of 2004: ${results[0].outcome.replace('ITEM_OUTCOME_', '')}`);
}

// Reports what was shown and bought from a list, for its variant's result.
async function experiment(recsys, user) {
  const { request_id, items, diagnostics } = await recsys.recommend({ user_id: user, placement: 'home', limit: 3 });
  console.log(`experiment ${diagnostics.experiment}: variant ${diagnostics.variant}`);
  const [{ meaning }] = await recsys.ingest([{
    user_id: user,
    event_type: 'purchase',
    event_id: 'order-2',
    request_id,
    content_id: items[0].content_id,
    impressions: items.map((item) => item.content_id),
  }]);
  console.log(`  bought the first: ${meaning.replace('EVENT_MEANING_', '')}`);
}

// What an error says.
async function invalidRequest(recsys, user) {
  try {
    await recsys.recommend({ user_id: user, limit: 1000, radius_meters: -1 });
  } catch (error) {
    if (!(error instanceof RecsysError)) throw error;
    console.log(`error ${error.status} ${error.reason}`);
    for (const { field, description } of error.violations) console.log(`  ${field}: ${description}`);
  }
}

function show(title, { items }) {
  console.log(title);
  for (const item of items) console.log(`  ${item.rank}. ${item.content_id} ${item.content.title}`);
}

const user = process.argv[2] ?? 'ada';
const recsys = new Client();
await sendEvents(recsys, user);
await readList(recsys, user);
await productPage(recsys, user);
await basket(recsys, user);
await visitorSession(recsys);
await logIn(recsys, user);
await changePrice(recsys);
await experiment(recsys, user);
await invalidRequest(recsys, user);
recsys.close();
