import { expect, test } from 'vitest';
import { faultOfRebalanceLabel, rebalanceBudget } from '../../../src/model/rebalancing.js';
import type { ServiceMode } from '../../../src/model/service-spec.js';
import { serviceSpec } from '../../support/cluster-objects.js';

const saying = (text: string, mode: ServiceMode = { kind: 'replicated', replicas: 1 }) =>
  serviceSpec('web', { labels: { 'skep.rebalance': text }, mode });

test.each([
  ['on', { tasks: 2, periodMs: 60_000 }],
  ['off', undefined],
  ['6/minute', { tasks: 6, periodMs: 60_000 }],
  ['100/hour', { tasks: 100, periodMs: 3_600_000 }],
])('%s', (text, budget) => {
  expect(faultOfRebalanceLabel(saying(text))).toBeUndefined();
  expect(rebalanceBudget(saying(text).labels)).toEqual(budget);
});

test.each([
  '',
  'true',
  'ON',
  '0/minute',
  '01/minute',
  '101/hour',
  '2/day',
  '2/minutes',
  '-1/minute',
  '2 /hour',
])('%j is refused, and counts as not said where it is stored', (text) => {
  expect(faultOfRebalanceLabel(saying(text))).toBe(
    `invalid label skep.rebalance=${JSON.stringify(text)}: must be on, off or a number of tasks from 1 to 100 per minute or hour, such as 2/minute`,
  );
  expect(rebalanceBudget(saying(text).labels)).toBeUndefined();
});

test('tasks that have their places are not moved', () => {
  expect(faultOfRebalanceLabel(saying('on', { kind: 'global' }))).toMatch('is for replicated services');
  expect(faultOfRebalanceLabel(saying('off', { kind: 'global' }))).toBeUndefined();
  expect(faultOfRebalanceLabel(serviceSpec('web', { mode: { kind: 'global' } }))).toBeUndefined();
});
