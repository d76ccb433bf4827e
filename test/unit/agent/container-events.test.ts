/** The engine's events: whom each wakes. */
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ContainerEvents } from '../../../src/controlplane/dockerd/events.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';

const log = createLog('test');
log.level = 'silent';
const common = { clock: systemClock, log };

let stream: PassThrough;
let events: ContainerEvents;
let stop: AbortController;
let running: Promise<void>;
const woken: string[] = [];

beforeEach(async () => {
  woken.length = 0;
  stream = new PassThrough();
  stop = new AbortController();
  const opened = new Promise<void>((resolve) => {
    events = new ContainerEvents(
      {
        containerEvents: async () => {
          resolve();
          return stream;
        },
      },
      common,
    );
  });
  running = events.run(stop.signal);
  await opened;
});
afterEach(async () => {
  stop.abort();
  stream.end();
  await running;
});

const say = (event: object): unknown => stream.write(`${JSON.stringify(event)}\n`);
const ofContainer = (action: string, id: string) => ({
  Type: 'container',
  Action: action,
  Actor: { ID: id },
});
const ofNetwork = (container: string) => ({
  Type: 'network',
  Action: 'disconnect',
  Actor: { ID: 'net', Attributes: { container, name: 'open', type: 'skep' } },
});

test.each<[string, object, string[]]>([
  ['a watched container dies', ofContainer('die', 'watched'), ['watched']],
  ['it is removed', ofContainer('destroy', 'watched'), ['watched', 'all']],
  ['it is disconnected', ofNetwork('watched'), ['watched']],
  ['a user’s container is disconnected', ofNetwork('other'), ['all']],
  ['a user’s container dies', ofContainer('die', 'other'), []],
  ['something of which nobody knows what it is', { Type: 'network' }, ['all']],
])('%s', async (_what, event, expected) => {
  using _watched = events.watch('watched', () => woken.push('watched'));
  using _all = events.watchAll(() => woken.push('all'));
  let isLast = false;
  using _last = events.watch('last', () => (isLast = true));
  say(event);
  say(ofContainer('die', 'last'));
  await expect.poll(() => isLast).toBe(true);
  expect(woken).toEqual(expected);
});
