/** Who calls is found out once for a call. */
import { expect, test } from 'vitest';
import { Callers } from '../../../src/controlplane/dispatcher/caller.js';

const callFrom = (peer: string) => ({ asked: 0, verified: true, getPeer: () => peer });
type Call = ReturnType<typeof callFrom>;
const callers = () =>
  new Callers<Call>((call) => {
    call.asked += 1;
    return call.verified
      ? { nodeId: 'n1', role: 'worker', clusterId: 'c', certificate: Buffer.from('der') }
      : undefined;
  });

test('a thousand messages of one call ask its connection once, another call is asked by itself', () => {
  const known = callers();
  const [one, other] = [callFrom('192.0.2.1:40000'), callFrom('[::ffff:192.0.2.2]:40001')];
  for (let i = 0; i < 1_000; i += 1) expect(known.of(one)?.addr).toBe('192.0.2.1');
  expect(known.of(other)?.addr).toBe('192.0.2.2');
  expect([one.asked, other.asked]).toEqual([1, 1]);
});

test('nobody is remembered as nobody', () => {
  const known = callers();
  const call = callFrom('192.0.2.1:40000');
  call.verified = false;
  expect(known.of(call)).toBeUndefined();
  call.verified = true;
  expect(known.of(call)).toMatchObject({ nodeId: 'n1', addr: '192.0.2.1' });
});
