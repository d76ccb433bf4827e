import { expect, test } from 'vitest';
import { PortTable } from '../../../src/controlplane/allocator/ports.js';
import type { AllocatedPort } from '../../../src/model/objects.js';
import { ports } from '../../support/cluster-objects.js';

const numbers = (allocated: readonly AllocatedPort[] | undefined): (string | number)[] | undefined =>
  allocated?.map((port) => `${port.protocol}/${port.publishedPort}`);

function tableWith(...held: AllocatedPort[]): PortTable {
  const table = new PortTable();
  table.hold(held);
  return table;
}
const held = (publishedPort: number, targetPort = 80): AllocatedPort => ({
  protocol: 'tcp',
  publishMode: 'ingress',
  targetPort,
  publishedPort,
});

test.each([
  ['fixed', [], ports([80, 8080]), [], ['tcp/8080']],
  ['fixed and in use', [held(8080)], ports([80, 8080]), [], undefined],
  ['the same number of another protocol', [held(8080)], ports([80, 8080, 'udp']), [], ['udp/8080']],
  [
    'dynamic',
    [held(30000)],
    ports([80], [81], [82, undefined, 'udp']),
    [],
    ['tcp/30001', 'tcp/30002', 'udp/30000'],
  ],
  ['dynamic, keeping its number', [], ports([80]), [held(30007)], ['tcp/30007']],
  ['dynamic beside a fixed port of the range', [], ports([80], [81, 30000]), [], ['tcp/30001', 'tcp/30000']],
  ['host mode, numbered', [held(8080)], ports([80, 8080, 'tcp', 'host']), [], ['tcp/8080']],
  ['host mode, left to the engine', [], ports([80, undefined, 'tcp', 'host']), [], []],
])('%s', (_, used, wanted, previous, expected) => {
  expect(numbers(tableWith(...used).allocate(wanted.ports, previous))).toEqual(expected);
});

test('the swarm’s own ports are given to nobody', () => {
  const table = new PortTable([{ protocol: 'udp', port: 30_000, use: 'VXLAN' }]);
  const [first, second] = ports([80, undefined, 'udp'], [80]).ports;
  expect(numbers(table.allocate([first!, second!], []))).toEqual(['udp/30001', 'tcp/30000']);
  expect(table.allocate(ports([80, 30_000, 'udp']).ports, [])).toBeUndefined();
});

test('an exhausted range gives nothing', () => {
  const all = Array.from({ length: 2768 }, (_, i) => held(30000 + i));
  expect(tableWith(...all).allocate(ports([80]).ports, [])).toBeUndefined();
});
