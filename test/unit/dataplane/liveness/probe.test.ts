/** Frames of the prober against those that a kernel sent. */
import { expect, test } from 'vitest';
import { parseAnswer, probeFrame } from '../../../../src/dataplane/liveness/probe.js';
import type { Ip, Mac } from '../../../../src/model/addresses.js';

const own = '02:42:0a:00:00:fb' as Mac;
const peer = { address: '10.0.0.252' as Ip, mac: '02:42:0a:00:00:fc' as Mac };
const question =
  '02420a0000fc02420a0000fb0806' + '0001080006040001' + '02420a0000fb00000000' + '0000000000000a0000fc';
const answer =
  '02420a0000fb02420a0000fc0806' + '0001080006040002' + '02420a0000fc0a0000fc' + '02420a0000fb00000000';

test('the question goes to the peer alone, and names no address of ours', () => {
  expect(probeFrame(own, peer).toString('hex')).toBe(question);
});

test('the answer says whose the address is', () => {
  expect(parseAnswer(Buffer.from(answer, 'hex'))).toEqual(peer);
  // Frames of some devices are padded.
  expect(parseAnswer(Buffer.from(`${answer}${'00'.repeat(18)}`, 'hex'))).toEqual(peer);
});

test('what is no whole answer is none', () => {
  for (const other of [question, answer.slice(0, -2), answer.replace('0806', '0800'), ''])
    expect(parseAnswer(Buffer.from(other, 'hex')), other).toBeNull();
});
