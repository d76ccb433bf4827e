/** What `skep verify` prints and exits with, for each kind of answer: its JSON is a contract. */
import { describe, expect, test } from 'vitest';
import { verifyExitCode, verifyJson, verifyLines } from '../../../src/cli/verify.js';
import type { VerifyReply } from '../../../src/dataplane/rpc/client.js';

const missing = {
  scope: 'host',
  op: 'add',
  object: 'neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04',
} as const;
const foreign = { scope: 'overlay 4097', op: 'delete', object: 'fdb vxlan0 02:00:00:00:00:09 self' } as const;
const unread = { scope: 'sandbox /run/x', op: 'unknown', object: 'observe: EPERM' } as const;
const answer = (over: Partial<VerifyReply>): VerifyReply => ({
  revision: 7,
  equal: false,
  differences: [],
  repaired: 0,
  ...over,
});

const answers: Array<[name: string, reply: VerifyReply, repair: boolean, code: number, lines: string[]]> = [
  ['equal', answer({ equal: true }), false, 0, ['kernel equals state at revision 7']],
  [
    'nothing was set',
    answer({ equal: true, revision: 0 }),
    false,
    0,
    ['no state was set: the kernel holds nothing of ours'],
  ],
  [
    'one difference',
    answer({ differences: [missing] }),
    false,
    1,
    [
      'kernel differs from state at revision 7; a repair would make 1 change:',
      '  host: + neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04',
    ],
  ],
  [
    'something unread beside what differs',
    answer({ differences: [unread, foreign] }),
    false,
    1,
    [
      'kernel differs from state at revision 7; a repair would make 2 changes:',
      '  sandbox /run/x: observe: EPERM',
      '  overlay 4097: - fdb vxlan0 02:00:00:00:00:09 self',
    ],
  ],
  [
    'nothing but what cannot be read',
    answer({ differences: [unread] }),
    false,
    2,
    [
      'kernel differs from state at revision 7; a repair would make 1 change:',
      '  sandbox /run/x: observe: EPERM',
    ],
  ],
  [
    'repaired',
    answer({ equal: true, differences: [missing, foreign], repaired: 2 }),
    true,
    0,
    [
      'kernel differed from state at revision 7 and equals it now; 2 changes made of:',
      '  host: + neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04',
      '  overlay 4097: - fdb vxlan0 02:00:00:00:00:09 self',
    ],
  ],
  [
    'repaired in part',
    answer({ differences: [missing, foreign], repaired: 1 }),
    true,
    1,
    [
      'kernel differed from state at revision 7 and still does; 1 change made of:',
      '  host: + neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04',
      '  overlay 4097: - fdb vxlan0 02:00:00:00:00:09 self',
    ],
  ],
  ['nothing to repair', answer({ equal: true }), true, 0, ['kernel equals state at revision 7']],
];

describe('skep verify', () => {
  test.each(answers)('%s', (_name, reply, repair, code, lines) => {
    expect(verifyLines(reply, repair)).toEqual(lines);
    expect(verifyExitCode(reply)).toBe(code);
    expect(JSON.parse(verifyJson(reply))).toEqual(reply);
  });

  test('--json has these fields in this order, whatever else an answer brings', () => {
    const reply = { ...answer({ differences: [{ ...missing, extra: 1 } as never] }), more: 2 };
    expect(verifyJson(reply)).toBe(
      '{"revision":7,"equal":false,"differences":[{"scope":"host","op":"add","object":"neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04"}],"repaired":0}',
    );
  });
});
