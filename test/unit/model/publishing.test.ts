/** The labels of publishing: what they mean, what is refused and in which words. */
import { expect, test } from 'vitest';
import { faultOfPublishLabels, publishLimits } from '../../../src/model/publishing.js';

const interfaces = 'skep.publish.interfaces';
const cidrs = 'skep.publish.cidrs';
const notInterfaces = 'must be 1 to 16 names of network interfaces with commas between, such as eth0,lo';
const notCidrs = 'must be 1 to 64 networks or addresses with commas between, such as 10.0.0.0/8,192.0.2.1';

test.each<[label: string, text: string, list: readonly string[] | null]>([
  [interfaces, 'eth0', ['eth0']],
  [interfaces, 'eth0,lo', ['eth0', 'lo']],
  [interfaces, ' eth0 , eth0.10 ,br-lan', ['eth0', 'eth0.10', 'br-lan']],
  [interfaces, 'eth0,eth0', ['eth0']],
  [interfaces, 'fifteen-letters', ['fifteen-letters']],
  [interfaces, 'sixteen--letters', null],
  [interfaces, '', null],
  [interfaces, 'eth0,', null],
  [interfaces, 'eth0:1', null],
  [interfaces, 'eth 0', null],
  [interfaces, '..', null],
  [interfaces, 'a/b', null],
  [interfaces, Array.from({ length: 17 }, (_, i) => `eth${i}`).join(), null],
  [cidrs, '10.0.0.0/8', ['10.0.0.0/8']],
  [cidrs, '192.0.2.1, 127.0.0.0/8', ['192.0.2.1/32', '127.0.0.0/8']],
  [cidrs, '192.0.2.1,192.0.2.1/32', ['192.0.2.1/32']],
  [cidrs, '0.0.0.0/0', ['0.0.0.0/0']],
  [cidrs, '2001:db8::1,2001:db8::/32', ['2001:db8::1/128', '2001:db8::/32']],
  [cidrs, '10.0.0.1/8', null], // the network, or the address alone?
  [cidrs, '10.0.0.0/33', null],
  [cidrs, '10.0.0.0/8/8', null],
  [cidrs, '10.0.0', null],
  [cidrs, 'eth0', null],
  [cidrs, '', null],
  [cidrs, Array.from({ length: 65 }, (_, i) => `10.0.0.${i}`).join(), null],
])('%s=%j lists %j', (label, text, list) => {
  const fault = `invalid label ${label}=${JSON.stringify(text)}: ${label === cidrs ? notCidrs : notInterfaces}`;
  expect(faultOfPublishLabels({ [label]: text })).toBe(list === null ? fault : undefined);
  const limits = publishLimits({ [label]: text });
  const [limited, other] =
    label === cidrs ? [limits.cidrs, limits.interfaces] : [limits.interfaces, limits.cidrs];
  if (list === null) expect(limited).not.toEqual([]);
  else expect(limited).toEqual(list);
  expect(other).toEqual([]);
});

test('without labels a port listens everywhere; other labels are not ours, unknown ones below the prefix are refused', () => {
  expect(publishLimits({ 'com.example': 'x' })).toEqual({ interfaces: [], cidrs: [] });
  expect(faultOfPublishLabels({ 'com.example': 'x', 'skep.lb.scheduler': 'lc' })).toBeUndefined();
  expect(faultOfPublishLabels({ 'skep.publish.cidr': '10.0.0.0/8' })).toBe(
    'unknown label "skep.publish.cidr": expected skep.publish.interfaces, skep.publish.cidrs',
  );
});
