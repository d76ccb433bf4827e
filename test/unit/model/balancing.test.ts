/** The labels of balancing: what they mean, what is refused and in which words. */
import { expect, test } from 'vitest';
import {
  faultOfNodeLabels,
  faultOfServiceLabels,
  serviceBalancing,
  taskWeight,
} from '../../../src/model/balancing.js';

test.each<[text: string, seconds: number | null]>([
  ['300s', 300],
  ['5m', 300],
  ['1h30m', 5400],
  ['1h0m0.5s', 3601],
  ['+1.5s', 2],
  ['.5m', 30],
  ['24h', 86_400],
  ['86400000ms', 86_400],
  ['1000000µs', 1],
  ['24h1ns', null],
  ['999ms', null],
  ['0', null],
  ['300', null],
  ['-5m', null],
  ['5 m', null],
  ['5d', null],
  ['m', null],
  ['.s', null],
  ['', null],
])('an affinity of %j is %j seconds', (text, seconds) => {
  const labels = { 'skep.lb.affinity': text };
  expect(serviceBalancing(labels).affinityS).toBe(seconds);
  expect(faultOfServiceLabels(labels)).toBe(
    seconds === null
      ? `invalid label skep.lb.affinity=${JSON.stringify(text)}: must be a duration from 1s to 24h, such as 300s or 5m`
      : undefined,
  );
});

test.each<[text: string | undefined, scheduler: string]>([
  [undefined, 'rr'],
  ['rr', 'rr'],
  ['wrr', 'wrr'],
  ['lc', 'lc'],
  ['mh', 'mh'],
  ['sh', 'rr'], // stored before labels were looked at
])('a scheduler of %j is %s', (text, scheduler) => {
  expect(serviceBalancing(text === undefined ? {} : { 'skep.lb.scheduler': text })).toEqual({
    scheduler,
    affinityS: null,
  });
});

const weight = (text: string): Record<string, string> => ({ 'skep.lb.weight': text });
type Given = string | null;
test.each<[own: Given, ofNode: Given, ofService: Given, weight: number]>([
  [null, null, null, 1],
  [null, null, '7', 7],
  [null, '3', null, 3],
  [null, '3', '7', 3],
  [null, '1', '7', 1],
  [null, '1000', null, 1000],
  [null, 'none', '7', 7], // stored before labels were looked at
  ['5', null, null, 5],
  ['5', '3', '7', 5],
  ['none', '3', '7', 3],
])(
  'a task of weight %j on a node of %j of a service of %j has weight %i',
  (own, ofNode, ofService, expected) => {
    const labels = (text: string | null): Record<string, string> => (text === null ? {} : weight(text));
    expect(taskWeight(labels(own), labels(ofNode), labels(ofService))).toBe(expected);
  },
);

const notAWeight = 'must be a whole number from 1 to 1000';
test.each<[labels: Record<string, string>, ofService: string | undefined, ofNode: string | undefined]>([
  [{}, undefined, undefined],
  [{ 'skep.trace': 'x', 'com.example': 'y' }, undefined, undefined],
  [weight('1'), undefined, undefined],
  ...['0', '1001', '1.5', '-1', '+1', '1e2', ' 1', ''].map(
    (text): [Record<string, string>, string, string] => {
      const fault = `invalid label skep.lb.weight=${JSON.stringify(text)}: ${notAWeight}`;
      return [weight(text), fault, fault];
    },
  ),
  [
    { 'skep.lb.scheduler': 'random' },
    'invalid label skep.lb.scheduler="random": must be one of rr, wrr, lc, mh',
    'unknown label "skep.lb.scheduler": expected skep.lb.weight',
  ],
  [
    { 'skep.lb.shceduler': 'lc' },
    'unknown label "skep.lb.shceduler": expected skep.lb.scheduler, skep.lb.affinity, skep.lb.weight',
    'unknown label "skep.lb.shceduler": expected skep.lb.weight',
  ],
])('%j: what is wrong with it on a service, and on a node', (labels, ofService, ofNode) => {
  expect(faultOfServiceLabels(labels)).toBe(ofService);
  expect(faultOfNodeLabels(labels)).toBe(ofNode);
});
