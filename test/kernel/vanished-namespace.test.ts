/** A container's namespace that goes while it is known: the engine takes the mount away first and the file later. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

test('a namespace that is no longer mounted is none, not a failure', async () => {
  await using undo = new CleanupStack();
  const netns = undo.use(TestNetns.create());
  const kernel = undo.use(new LinuxKernel());
  const scope = { kind: 'sandbox', path: netns.path } as const;
  const observe = async (): Promise<boolean> =>
    (await kernel.observe(scope, ['net/ipv4/conf/all/rp_filter'], true)).exists;
  expect(await observe()).toBe(true);
  execFileSync('umount', [netns.path]);
  expect(await observe()).toBe(false);
  // As it is found by whoever comes later.
  kernel.forget(scope);
  expect(await observe()).toBe(false);
});
