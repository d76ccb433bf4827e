/** Whether a listener that fell behind hears of what comes after: libuv stops watching a socket once that has told of an error. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import type { RouteEvent } from '../../src/dataplane/netlink/route.js';
import { subscribeRoute } from '../../src/dataplane/netlink/route.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

/** Each brings some notifications of more than a kilobyte; a socket has room for some 200 KiB. */
const changes = 16_000;

test('after more changes than there was room for, the next one is heard of', async () => {
  await using undo = new CleanupStack();
  const netns = undo.use(TestNetns.create());
  const told: RouteEvent[] = [];
  undo.use(subscribeRoute(netns.path, ['link'], (event) => void told.push(event)));
  const flapping = Array.from({ length: changes }, (_, i) => `link set lo ${i % 2 ? 'down' : 'up'}\n`);
  // Nothing is read meanwhile.
  const done = spawnSync('nsenter', [`--net=${netns.path}`, 'ip', '-batch', '-'], {
    input: flapping.join(''),
  });
  expect(done.status).toBe(0);
  await expect.poll(() => told.some(({ object }) => object === 'lost')).toBe(true);

  const isNamed = (event: RouteEvent): boolean => event.object === 'link' && event.link.name === 'late0';
  await netns.run('ip', 'link', 'add', 'late0', 'type', 'bridge');
  await expect.poll(() => told.some(isNamed)).toBe(true);
});
