/** The wait until nothing of ours is left in the kernel, on a clock of its own. */
import { expect, test } from 'vitest';
import type { DataplaneStatus, VerifyReply } from '../../../src/dataplane/rpc/client.js';
import { OutsideError, SkepError } from '../../../src/model/errors.js';
import { emptyKernel } from '../../../src/uninstall/empty-kernel.js';

const away = new OutsideError('skep-dataplane does not answer', true);
const unknown = new SkepError('failedPrecondition', 'a damaged file leaves open what this node should have');
const rule = {
  scope: 'host',
  op: 'delete',
  object: 'jump nat PREROUTING SKEP-PREROUTING',
} as unknown as VerifyReply['differences'][number];

/** One look at the daemon: it fails, or finds this. */
type Look =
  | Error
  | { readonly differences?: VerifyReply['differences']; readonly lastError?: string; readonly pins?: true };

/** A daemon that is seen as each of the looks in turn, and as the last of them from then on. */
function daemon(looks: readonly Look[]) {
  let nowMs = 0;
  let at = 0;
  let cleared = 0;
  const look = (): Exclude<Look, Error> => {
    const found = looks[Math.min(at, looks.length - 1)] ?? {};
    if (found instanceof Error) throw found;
    return found;
  };
  const dataplane = {
    clearState: async () => {
      look();
      cleared += 1;
    },
    verify: async (): Promise<VerifyReply> => {
      const { differences = [] } = look();
      return { revision: 0, equal: differences.length === 0, differences, repaired: 0 };
    },
    status: async () => ({ lastError: look().lastError ?? '' }) as DataplaneStatus,
  };
  const clock = {
    nowMs: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
      at += 1;
    },
  };
  const options = { dataplane, hasPins: () => look().pins === true, clock, deadlineMs: 1_000 };
  return { options, cleared: () => cleared, nowMs: () => nowMs };
}

test.each<[name: string, looks: readonly Look[], waitedMs: number]>([
  ['empty at once', [{}], 0],
  ['the daemon starts', [away, away, {}], 400],
  ['it does not know yet what there is', [unknown, {}], 200],
  [
    'one after the other goes',
    [{ differences: [rule] }, { lastError: 'overlay 4097: busy' }, { pins: true }, {}],
    600,
  ],
])('%s', async (_, looks, waitedMs) => {
  const { options, cleared, nowMs } = daemon(looks);
  await emptyKernel(options);
  expect({ cleared: cleared(), waitedMs: nowMs() }).toEqual({ cleared: 1, waitedMs });
});

test.each<[name: string, look: Look, said: RegExp]>([
  ['nobody answers', away, /^not within 1 s: skep-dataplane does not answer$/],
  ['a rule stays', { differences: [rule] }, /SKEP-PREROUTING/],
  ['something cannot be removed', { lastError: 'overlay 4097: busy' }, /overlay 4097: busy/],
  ['maps stay', { pins: true }, /pinned/],
])('says what is left: %s', async (_, look, said) => {
  const { options } = daemon([look]);
  await expect(emptyKernel(options)).rejects.toThrow(said);
});

test('a bug is none of what is waited for', async () => {
  const { options } = daemon([new TypeError('undefined')]);
  await expect(emptyKernel(options)).rejects.toThrow(TypeError);
});
