import { pino } from 'pino';
import { expect, test } from 'vitest';
import { RootFollower } from '../../../src/controlplane/node/root-follower.js';
import type { ToldRoots } from '../../../src/controlplane/node/root-follower.js';
import type { Clock } from '../../../src/runtime/clock.js';
import { systemClock } from '../../../src/runtime/clock.js';

const told = (wantedIssuer: string): ToldRoots => ({ rootCaPem: '', wantedIssuer });

test('what managers said last is done until it succeeds, and then never again', async () => {
  const tried: string[] = [];
  let failing = 2;
  const follower = new RootFollower(async ({ wantedIssuer }) => {
    tried.push(wantedIssuer);
    if (failing-- > 0) throw new Error('no manager answers');
  });
  // A pause of a pass is a millisecond here.
  const clock: Clock = { ...systemClock, sleep: (_, signal) => systemClock.sleep(1, signal) };
  const stop = new AbortController();
  follower.tell(told('first'));
  follower.tell(told('second'));
  const running = follower.run(clock, pino({ level: 'silent' }), stop.signal);
  await expect.poll(() => tried).toEqual(['second', 'second', 'second']);
  follower.tell(told('third'));
  await expect.poll(() => tried.at(-1)).toBe('third');
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(tried).toHaveLength(4);
  stop.abort(new Error('done'));
  await running;
});
