/** From a store to a backup, and from there to what a restored swarm begins with. */
import { describe, expect, test } from 'vitest';
import { backupHead, backupLines, parseBackup } from '../../../src/controlplane/backup/backup-content.js';
import type { Backup } from '../../../src/controlplane/backup/backup-content.js';
import { planRestore } from '../../../src/controlplane/backup/restore-plan.js';
import type { RestoringNode } from '../../../src/controlplane/backup/restore-plan.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { NodeId } from '../../../src/model/ids.js';
import type { Node } from '../../../src/model/objects.js';
import {
  cluster,
  leader,
  network,
  node,
  presence,
  service,
  storeOf,
  task,
} from '../../support/cluster-objects.js';

const takenAtMs = 1_700_000_000_000;
const self: RestoringNode = {
  nodeId: 'new' as NodeId,
  description: { hostname: 'new' } as RestoringNode['description'],
  addresses: { advertiseHost: '192.0.2.9' as Ip, advertisePort: 2377, dataPathHost: '192.0.2.9' as Ip },
};
const at = (each: Node, addr: string): Node => ({
  ...each,
  status: { ...each.status, addr },
  dataPathAddr: addr as Ip,
});
const manager = (each: Node): Node => ({
  ...each,
  spec: { ...each.spec, role: 'manager', labels: { rack: '7' } },
  role: 'manager',
  managerStatus: { leader: false, reachability: 'reachable', addr: `${each.status.addr}:2377` },
});

async function someBackup(pieceBytes = 100): Promise<Backup> {
  const web = service('web');
  const store = await storeOf({
    cluster: [cluster()],
    network: [network('ingress', { ingress: true }), network('net1', { subnet: '10.9.0.0/24' })],
    node: [
      manager(at(node('m1'), '192.0.2.1')),
      manager(at(node('m2'), '192.0.2.2')),
      at(node('w1'), '192.0.2.3'),
      at(node('gone', { state: 'down' }), '192.0.2.4'),
    ],
    service: [web],
    task: [
      task('t1', web, 'running', { node: 'm1' }),
      task('t2', web, 'running', { node: 'w1' }),
      task('t3', web, 'failed', { node: 'm1' }),
    ],
    manager: [presence('m1')],
    leader: [leader('m1')],
  });
  const view = store.view();
  const all = Buffer.concat([...backupLines(view, backupHead(view, 'm1' as NodeId, takenAtMs))]);
  const pieces = Array.from({ length: Math.ceil(all.length / pieceBytes) }, (_, i) =>
    all.subarray(i * pieceBytes, (i + 1) * pieceBytes),
  );
  return parseBackup(pieces);
}
const plan = async (node: RestoringNode = self, nowMs = takenAtMs) => {
  const { objects, revisionBase } = planRestore(await someBackup(), node, nowMs);
  const nodes = new Map(
    objects.flatMap(({ kind, object }) => (kind === 'node' ? [[object.id as string, object]] : [])),
  );
  const tasks = new Map(
    objects.flatMap(({ kind, object }) => (kind === 'task' ? [[object.id as string, object]] : [])),
  );
  return { objects, revisionBase, nodes, tasks };
};

describe('a backup', () => {
  test.each([1, 7, 100_000])(
    'holds every object but those of the moment, in pieces of %i bytes',
    async (pieceBytes) => {
      const { head, objects, cluster: found } = await someBackup(pieceBytes);
      expect(head).toMatchObject({ clusterId: 'cluster', nodeId: 'm1', takenAtMs, objects: objects.length });
      expect(objects.map(({ kind, object }) => `${kind} ${object.id}`)).toEqual([
        'cluster cluster',
        'node gone',
        'node m1',
        'node m2',
        'node w1',
        'service web',
        'task t1',
        'task t2',
        'task t3',
        'network ingress',
        'network net1',
      ]);
      expect(found.id).toBe('cluster');
    },
  );

  test.each([
    ['nothing', '', /does not hold a swarm/],
    ['another thing', '{"what":"else"}\n', /does not hold a swarm/],
    [
      'fewer lines than it says',
      '{"what":"skep swarm","objects":2}\n{"kind":"node"}\n',
      /does not hold a swarm/,
    ],
    [
      'a kind that is not known',
      '{"what":"skep swarm","objects":1}\n{"kind":"volume","object":{}}\n',
      /newer version of skep: it holds objects of kind volume/,
    ],
  ])('with %s is refused', (_, text, message) => {
    expect(() => parseBackup([Buffer.from(text)])).toThrow(message);
  });
});

describe('a restored swarm', () => {
  test('has one manager, this host; all others are workers not heard of yet', async () => {
    const { nodes, tasks } = await plan();
    expect(nodes.get('new')).toMatchObject({
      spec: { role: 'manager', availability: 'active' },
      role: 'manager',
      managerStatus: { addr: '192.0.2.9:2377' },
      dataPathAddr: '192.0.2.9',
    });
    for (const id of ['m1', 'm2', 'w1']) {
      expect(nodes.get(id), id).toMatchObject({
        spec: { role: 'worker' },
        role: 'worker',
        status: { state: 'unknown' },
      });
      expect(nodes.get(id), id).not.toHaveProperty('managerStatus');
    }
    expect(nodes.get('m1')?.spec.labels).toEqual({ rack: '7' });
    expect(nodes.get('gone')?.status.state).toBe('down');
    expect(tasks.get('t1')?.status.state).toBe('running');
  });

  test('in place keeps the node as it was', async () => {
    const { nodes } = await plan({
      ...self,
      nodeId: 'm1' as NodeId,
      addresses: { ...self.addresses, advertiseHost: '192.0.2.1' as Ip },
    });
    expect([...nodes.keys()].sort()).toEqual(['gone', 'm1', 'm2', 'w1']);
    expect(nodes.get('m1')).toMatchObject({
      role: 'manager',
      spec: { role: 'manager', labels: { rack: '7' } },
    });
  });

  test('on a host of a former address has no such node any more, and what ran there is orphaned', async () => {
    const { nodes, tasks } = await plan({
      ...self,
      addresses: { ...self.addresses, advertiseHost: '192.0.2.1' as Ip },
    });
    expect([...nodes.keys()].sort()).toEqual(['gone', 'm2', 'new', 'w1']);
    expect(tasks.get('t1')?.status.state).toBe('orphaned');
    expect(tasks.get('t3')?.status.state).toBe('failed');
    expect(tasks.get('t2')?.status.state).toBe('running');
  });

  test('counts its revisions from above all that there can have been', async () => {
    const { head } = await someBackup();
    expect((await plan()).revisionBase).toBe(head.revision + 1_000_000);
    // A year later, and by a clock that is behind.
    const yearMs = 365 * 24 * 3600 * 1000;
    expect((await plan(self, takenAtMs + yearMs)).revisionBase).toBe(head.revision + 10 * yearMs);
    expect((await plan(self, takenAtMs - yearMs)).revisionBase).toBe(head.revision + 1_000_000);
  });
});
