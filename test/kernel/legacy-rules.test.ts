/** Rules of iptables-legacy, of whose changes nothing tells: asked after again and again through what lies open. */
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LegacyRules } from '../../src/dataplane/kernel/legacy-rules.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

let undo: CleanupStack;
let netns: TestNetns;

beforeEach(() => {
  undo = new CleanupStack();
  netns = undo.use(TestNetns.create());
});
afterEach(() => undo[Symbol.asyncDispose]());

test.each([
  [4, 'iptables-legacy'],
  [6, 'ip6tables-legacy'],
] as const)(
  'of IPv%i: each change shows, whatever it is, and a new rule also where only sizes are asked for',
  async (family, tool) => {
    const rules = undo.use(new LegacyRules(netns.path, family));
    const seen = (): string[] => [rules.digest(false), rules.digest(true)];
    const change = (words: string) => netns.run(tool, ...words.split(' '));
    const [none] = seen();
    await change('-t filter -A INPUT -p tcp --dport 9 -j ACCEPT');
    const [sizes, whole] = seen();
    expect(sizes).not.toBe(none);
    expect(seen()).toEqual([sizes, whole]);
    await change('-t filter -R INPUT 1 -p tcp --dport 10 -j ACCEPT');
    expect(seen()).toEqual([sizes, expect.not.stringMatching(`^${whole}$`)]);
    await change('-t filter -A INPUT -p udp -j DROP');
    expect(rules.digest(false)).not.toBe(sizes);
    await change('-t nat -N SKEP-OTHER');
    const both = rules.digest(false);
    expect(both).not.toBe(sizes);
    expect(rules.digest(false)).toBe(both);
  },
);

test('what was disposed of keeps no descriptor, and a namespace that is none is refused', () => {
  const before = readdirSync('/proc/self/fd').length;
  for (let turn = 0; turn < 3; turn++) new LegacyRules(netns.path, 4)[Symbol.dispose]();
  expect(readdirSync('/proc/self/fd').length).toBe(before);
  expect(existsSync('/run/netns/skep-none')).toBe(false);
  expect(() => new LegacyRules('/run/netns/skep-none', 4)).toThrow(
    expect.objectContaining({ code: 'ENOENT' }),
  );
});
