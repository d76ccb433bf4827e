/** A task that fails each second, or a caller that knocks without end, does not fill a disk with the same line. */
import { expect, test } from 'vitest';
import { burstDefault } from '../../../src/model/events.js';
import { decide } from '../../../src/runtime/decide.js';
import { LogThrottle } from '../../../src/runtime/log-throttle.js';
import { collectedLog, eventsIn } from '../../support/collected-log.js';

const minuteMs = 60_000;

test('so many lines a minute about one object, and the next one says how many were left out', () => {
  const throttle = new LogThrottle();
  const admitted = (about: string, nowMs: number) => throttle.admit(about, 2, nowMs);
  const written = (leftOut = 0) => ({ isWritten: true, leftOut });
  const not = { isWritten: false, leftOut: 0 };
  expect([0, 1, 2, 3].map((nowMs) => admitted('a', nowMs))).toEqual([written(), written(), not, not]);
  expect(admitted('b', 3)).toEqual(written());
  expect(admitted('a', minuteMs - 1)).toEqual(not);
  expect(admitted('a', minuteMs)).toEqual(written(3));
  expect(admitted('a', minuteMs + 1)).toEqual(written());
  expect(admitted('a', minuteMs + 2)).toEqual(not);
});

test('of more objects than are remembered the ones of longest ago are forgotten, and memory is bounded', () => {
  const throttle = new LogThrottle();
  throttle.admit('first', 1, 0);
  for (let i = 0; i < 10_000; i++) throttle.admit(`other ${i}`, 1, 0);
  expect(throttle.admit('first', 1, 0)).toEqual({ isWritten: true, leftOut: 0 });
  expect(throttle.admit('other 9999', 1, 0).isWritten).toBe(false);
});

test("a daemon's lines of events are bounded by what they are about, in all its child loggers together", () => {
  let nowMs = 0;
  const { log, lines } = collectedLog('info', () => nowMs);
  const child = log.child({ part: 'agent' });
  const fail = (service: string): void =>
    decide(child, 'task.failed', { task: 't', service, state: 'failed', why: 'exit code 1' });
  for (let i = 0; i < 50; i++) fail('web');
  decide(log, 'task.failed', { task: 't', service: 'web', state: 'failed', why: 'exit code 1' });
  fail('api');
  nowMs = minuteMs;
  fail('web');
  const found = eventsIn(lines).map(({ service, left_out }) => [service, left_out]);
  expect(found).toEqual([
    ...Array.from({ length: burstDefault }, () => ['web', undefined]),
    ['api', undefined],
    ['web', 51 - burstDefault],
  ]);
});

test('what is no event is written as it comes, and an event below the level is not', () => {
  const { log, lines } = collectedLog('info');
  for (let i = 0; i < 100; i++) log.info({ i }, 'as it comes');
  log.info('without fields');
  decide(log, 'assignments.sent', { node: 'n', sequence: 1, revision: 1 });
  expect(lines).toHaveLength(101);
});
