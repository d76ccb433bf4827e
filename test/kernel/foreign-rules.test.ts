/** Whether somebody else's change of rules is told of, and known for one of ours or not, with no question in between. */
import { expect, test } from 'vitest';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import type { Change } from '../../src/dataplane/kernel/kernel.js';
import type { Chain, Jump } from '../../src/dataplane/plan/objects.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

const chain: Chain = {
  kind: 'chain',
  family: 4,
  table: 'filter',
  name: 'SKEP-FORWARD',
  rules: ['-s 10.0.0.0/24 -j ACCEPT'],
};
const jump: Jump = {
  kind: 'jump',
  family: 4,
  table: 'filter',
  chain: 'FORWARD',
  target: 'SKEP-FORWARD',
  first: true,
};
const ours = [chain, jump];

test('each change of rules is told of; only what concerns ours asks for a look', async () => {
  await using undo = new CleanupStack();
  const netns = undo.use(TestNetns.create());
  const kernel = undo.use(new LinuxKernel());
  const scope = { kind: 'sandbox', path: netns.path } as const;
  await kernel.observe(scope, [], true, []);
  const told: Change[] = [];
  const watch = kernel.watch(scope, (what) => void (what === 'rules' && told.push(what)));
  expect(watch).not.toBeNull();
  const toldOf = async (change: () => Promise<unknown>): Promise<boolean> => {
    told.length = 0;
    await change();
    await expect.poll(() => told.length).toBeGreaterThan(0);
    return kernel.refresh(scope, 'chains');
  };
  const rulesNow = async (): Promise<unknown> =>
    (await kernel.observe(scope, [], false, [])).objects.filter(
      ({ kind }) => kind === 'chain' || kind === 'jump',
    );

  const ops = ours.map((object) => ({ op: 'add', object }) as const);
  expect(await toldOf(() => kernel.apply(scope, ops))).toBe(false);
  expect(await rulesNow()).toEqual(ours);
  expect(await toldOf(() => netns.run('iptables', '-A', 'FORWARD', '-s', '10.66.0.0/24', '-j', 'DROP'))).toBe(
    false,
  );
  expect(await rulesNow()).toEqual(ours);

  expect(await toldOf(() => netns.run('iptables', '-F', 'SKEP-FORWARD'))).toBe(true);
  expect(await rulesNow()).toEqual([{ ...chain, rules: [] }, jump]);
  expect(await toldOf(() => netns.run('iptables', '-F'))).toBe(true);
  expect(await rulesNow()).toEqual([{ ...chain, rules: [] }]);
  expect(await toldOf(() => netns.run('iptables', '-X'))).toBe(true);
  expect(await rulesNow()).toEqual([]);

  // Nobody listens any more: who asks is answered.
  watch?.[Symbol.dispose]();
  await netns.run('iptables', '-N', 'SKEP-FORWARD');
  expect(await kernel.refresh(scope, 'chains')).toBe(true);
});
