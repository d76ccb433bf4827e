/** Whether links of the engine's, which come and go with every container, have the host looked at. */
import { expect, test } from 'vitest';
import type { Change } from '../../src/dataplane/kernel/kernel.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { hostLinkName } from '../../src/dataplane/plan/names.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

const scope = { kind: 'host' } as const;

test('a link without an address has nobody look, one with an address or of ours does', async () => {
  await using undo = new CleanupStack();
  const netns = undo.use(TestNetns.create());
  const kernel = undo.use(new LinuxKernel({ hostNetns: netns.path }));
  const ip = (words: string): Promise<unknown> => netns.run('ip', ...words.split(' '));
  // As the engine makes it: the bridge keeps that MAC whatever ports it has.
  await ip('link add docker0 address 02:42:ac:11:00:01 type bridge');
  await ip('addr add 172.17.0.1/16 dev docker0');
  await ip('link set docker0 up');
  await kernel.observe(scope, [], true, []);
  const told: Change[] = [];
  const watch = kernel.watch(scope, (what) => void (what === 'objects' && told.push(what)));
  expect(watch).not.toBeNull();
  const isTold = async (words: string): Promise<void> => {
    told.length = 0;
    await ip(words);
    await expect.poll(() => told.length, { message: words }).toBeGreaterThan(0);
  };

  await ip('link add veth1 type veth peer name veth1c');
  await ip('link set veth1 master docker0 up');
  await ip('link set veth1c up');
  await ip('link set veth1c name eth7');
  await ip('link del veth1');
  // Told of in turn: what comes after tells that nothing was told before.
  await ip('link add br1 type bridge');
  await ip('addr add 10.66.0.1/24 dev br1');
  await expect.poll(() => told.length).toBeGreaterThan(0);
  expect(told).toHaveLength(1);

  await isTold('link set docker0 mtu 1400');
  await isTold('link del docker0');
  await isTold(`link add ${hostLinkName} type bridge`);
  await kernel.observe(scope, [], true, []);
  await isTold(`link set ${hostLinkName} name other`);
  await isTold('link set other name eth8');
});
