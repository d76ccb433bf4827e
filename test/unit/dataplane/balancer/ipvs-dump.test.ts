/** IPVS's table as the addon gives it. */
import { expect, test } from 'vitest';
import { parseIpvsDump } from '../../../../src/dataplane/balancer/ipvs-dump.js';

const words = (...values: number[]): Buffer => {
  const octets = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => octets.writeUInt32LE(value, 4 * index));
  return octets;
};
const name = (text: string): Buffer => Buffer.from(text.padEnd(16, '\0'));

test('has virtual servers with their real servers', () => {
  const dump = Buffer.concat([
    ...[words(0x5e001f90, 0x3, 300, 2), name('wrr')],
    ...[Buffer.from([240, 0, 64, 5]), words(80, 0x100, 100)],
    ...[Buffer.from([240, 0, 64, 6]), words(8080, 0x100, 0)],
    ...[words(0x5e000008, 0x2, 0, 0), name('mh')],
    ...[words(0x5e000007, 0x2, 300, 1), name('rr')],
    ...[Buffer.from([10, 0, 1, 5]), words(0, 0x103, 1)],
  ]);
  const published = { kind: 'realServer', mark: 0x5e001f90, method: 'translate' };
  expect(parseIpvsDump(dump)).toEqual([
    { kind: 'virtualServer', family: 4, mark: 0x5e001f90, scheduler: 'wrr', affinityS: 300 },
    { ...published, address: '240.0.64.5', port: 80, weight: 100 },
    { ...published, address: '240.0.64.6', port: 8080, weight: 0 },
    { kind: 'virtualServer', family: 4, mark: 0x5e000008, scheduler: 'mh', affinityS: null },
    { kind: 'virtualServer', family: 4, mark: 0x5e000007, scheduler: 'rr', affinityS: null },
    { kind: 'realServer', mark: 0x5e000007, address: '10.0.1.5', port: 0, method: 'direct', weight: 1 },
  ]);
  expect(parseIpvsDump(Buffer.alloc(0))).toEqual([]);
});
