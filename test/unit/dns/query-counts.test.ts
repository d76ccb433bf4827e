/** Questions are counted by type and outcome, those that are answered from what was kept as well. */
import { expect, test } from 'vitest';
import { AnswerCache } from '../../../src/dataplane/dns/answer-cache.js';
import { QueryCounts, slotOf } from '../../../src/dataplane/dns/query-counts.js';

test('each type and outcome has a place of its own, types that are none of ours one together', () => {
  const counts = new QueryCounts();
  counts.count(slotOf('A', 'answered'));
  counts.count(slotOf('A', 'answered'));
  counts.count(slotOf('AAAA', 'empty'));
  counts.count(slotOf('MX', 'forwarded'));
  counts.count(slotOf('TXT', 'forwarded'));
  expect(counts.queries).toEqual([
    { type: 'A', outcome: 'answered', count: 2 },
    { type: 'AAAA', outcome: 'empty', count: 1 },
    { type: 'other', outcome: 'forwarded', count: 2 },
  ]);
});

test('an answer that was kept counts as the one that it repeats', () => {
  const counts = new QueryCounts();
  const cache = new AnswerCache(counts.bySlot);
  const slot = slotOf('PTR', 'answered');
  cache.keep(Buffer.from('01web?'), 0, 1, Buffer.from('01web!'), slot);
  expect(counts.queries).toEqual([]);
  for (const id of ['02', '03', '04']) cache.find(Buffer.from(`${id}web?`), 0);
  cache.find(Buffer.from('05api?'), 0);
  expect(counts.queries).toEqual([{ type: 'PTR', outcome: 'answered', count: 3 }]);
});
