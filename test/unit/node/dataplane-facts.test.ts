/** Who balances here, asked sparingly of a dataplane that may be away. */
import { expect, test } from 'vitest';
import { describeNode } from '../../../src/controlplane/agent/node-description.js';
import { FactsOfDataplane, lastKnown } from '../../../src/controlplane/node/dataplane-facts.js';
import { OutsideError } from '../../../src/model/errors.js';
import { satisfiesConstraints } from '../../../src/model/constraint.js';
import { FakeTime, node } from '../../support/cluster-objects.js';

const says = (engine: string) => ({ engine, esp: true, espEpoch: 3 });

class FakeDataplane {
  readonly time = new FakeTime();
  asked = 0;
  answer: () => Promise<{ engine: string; esp: boolean; espEpoch: number }> = async () => says('ebpf');
  readonly facts = new FactsOfDataplane({
    status: () => ((this.asked += 1), this.answer()),
    clock: {
      nowMs: this.time.nowMs,
      steadyMs: this.time.nowMs,
      sleep: () => Promise.reject(new Error('nobody sleeps here')),
    },
  });
  readonly balancer = async () => (await this.facts.now())?.balancer;
}

test('is asked once in ten seconds, by however many', async () => {
  const dataplane = new FakeDataplane();
  expect(await Promise.all([dataplane.balancer(), dataplane.balancer()])).toEqual(['ebpf', 'ebpf']);
  dataplane.time.ms += 9_999;
  await dataplane.balancer();
  expect(dataplane.asked).toBe(1);
  dataplane.answer = async () => says('ipvs');
  dataplane.time.ms += 1;
  expect([await dataplane.balancer(), dataplane.asked]).toEqual(['ipvs', 2]);
});

test('is unknown while the dataplane is away or does not know; the node keeps what it last was', async () => {
  const dataplane = new FakeDataplane();
  const kept = lastKnown(dataplane.balancer);
  const heard: (string | undefined)[] = [];
  const answers: FakeDataplane['answer'][] = [
    () => Promise.reject(new OutsideError('away', true)),
    async () => says('ebpf'),
    async () => says(''),
  ];
  for (const answer of answers) {
    dataplane.answer = answer;
    dataplane.time.ms += 10_000;
    heard.push(await dataplane.balancer(), await kept());
  }
  expect(heard).toEqual([undefined, undefined, 'ebpf', 'ebpf', undefined, 'ebpf']);
});

test('is asked again two seconds after it did not answer, by however many', async () => {
  const dataplane = new FakeDataplane();
  dataplane.answer = () => Promise.reject(new OutsideError('away', true));
  await dataplane.balancer();
  dataplane.answer = async () => says('ebpf');
  dataplane.time.ms += 1_999;
  expect([await dataplane.balancer(), dataplane.asked]).toEqual([undefined, 1]);
  dataplane.time.ms += 1;
  expect(await Promise.all([dataplane.balancer(), dataplane.balancer()])).toEqual(['ebpf', 'ebpf']);
  expect(dataplane.asked).toBe(2);
});

test('a bug is not hidden', async () => {
  const dataplane = new FakeDataplane();
  dataplane.answer = () => Promise.reject(new TypeError('bug'));
  await expect(dataplane.balancer()).rejects.toThrow('bug');
});

test('stands among the engine labels of the node, where constraints find it', () => {
  const info = {
    Name: 'host1',
    Architecture: 'x86_64',
    OSType: 'linux',
    NCPU: 1,
    MemTotal: 1,
    ServerVersion: '20.10.24',
    Labels: ['zone=a'],
  };
  const { engineLabels } = describeNode(info, [], { balancer: 'ebpf', esp: false, espEpoch: 3 });
  expect(engineLabels).toEqual({ 'skep.balancer': 'ebpf', 'skep.esp': 'false', zone: 'a' });
  const base = node('n1');
  if (!base.description) throw new Error('a node with a description');
  const { description } = base;
  const labelled = {
    ...base,
    description: { ...description, engine: { ...description.engine, labels: engineLabels } },
  };
  expect(satisfiesConstraints(labelled, ['engine.labels.skep.balancer == ebpf'])).toBe(true);
  expect(satisfiesConstraints(labelled, ['engine.labels.skep.balancer != ebpf'])).toBe(false);
});
