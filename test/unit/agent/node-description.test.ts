import { expect, test } from 'vitest';
import { parseAllowance } from '../../../src/model/host-access.js';
import { describeNode } from '../../../src/controlplane/agent/node-description.js';
import type { EngineInfo } from '../../../src/controlplane/dockerd/client.js';

const info: EngineInfo = {
  Name: 'host',
  Architecture: 'x86_64',
  OSType: 'linux',
  NCPU: 2,
  MemTotal: 4096,
  ServerVersion: '20.10.24',
  Labels: ['b=2', 'a'],
  Plugins: { Volume: ['local'], Network: ['null', 'bridge'], Log: null, Authorization: ['guard'] },
  GenericResources: [
    { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID1' } },
    { DiscreteResourceSpec: { Kind: 'ssd', Value: 3 } },
  ],
};

test('a host tells what its engine has', () => {
  expect(describeNode(info, [], { balancer: 'ebpf', esp: true, espEpoch: 7 })).toEqual({
    hostname: 'host',
    architecture: 'x86_64',
    os: 'linux',
    nanoCpus: 2e9,
    memoryBytes: 4096,
    engineVersion: '20.10.24',
    engineLabels: { a: '', b: '2', 'skep.balancer': 'ebpf', 'skep.esp': 'true' },
    plugins: [
      { type: 'Authorization', name: 'guard' },
      { type: 'Network', name: 'bridge' },
      { type: 'Network', name: 'null' },
      { type: 'Network', name: 'overlay' },
      { type: 'Volume', name: 'local' },
    ],
    genericResources: [
      { kind: 'gpu', name: 'UUID1' },
      { kind: 'ssd', count: 3 },
    ],
    routes: [],
    espEpoch: 7,
  });
});

test('kinds of resources are in an order of their own, names of a kind in the engine’s', () => {
  const named = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } });
  const counted = { DiscreteResourceSpec: { Kind: 'ssd', Value: 3 } };
  const said = { ...info, GenericResources: [counted, named('UUID2'), named('UUID1')] };
  expect(describeNode(said, []).genericResources).toEqual([
    { kind: 'gpu', name: 'UUID2' },
    { kind: 'gpu', name: 'UUID1' },
    { kind: 'ssd', count: 3 },
  ]);
});

test('overlays are every node’s own, and told once', () => {
  const said = { ...info, Plugins: { Network: ['overlay', 'overlay'] } };
  expect(describeNode(said, []).plugins).toEqual([{ type: 'Network', name: 'overlay' }]);
});

test('what is allowed is told as a label of the engine, which nobody else can set', () => {
  const allowing = (text: string) => describeNode(said, [], undefined, parseAllowance(text)).engineLabels;
  const said = { ...info, Labels: ['skep.allow=privileged', 'a=b'] };
  expect(allowing('')).toEqual({ a: 'b' });
  expect(allowing('shm-size,devices=/dev/f*')).toEqual({ a: 'b', 'skep.allow': 'devices=/dev/f*,shm-size' });
});
