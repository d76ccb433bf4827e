/**
 * What a swarm begins with that is restored: all that was, with this host as its only manager. Pure.
 *
 * Other nodes stay known, as workers that are not heard of yet: whoever finds the manager goes on with what runs there, and what
 * is not heard of in time is down, and its tasks move. A former node of this host's address is this host now, or gone: it is
 * removed as `docker node rm` would. Revisions go on far above those that were: nodes remember the ones that they have seen, and
 * a service's version must never come twice.
 */
import { addressAndPort } from '../../model/addresses.js';
import type { Ip } from '../../model/addresses.js';
import type { NodeId } from '../../model/ids.js';
import type { Node, NodeDescription, Task } from '../../model/objects.js';
import { orphanedWithNode } from '../../model/orphans.js';
import { atLeast } from '../../model/task-state.js';
import type { StoredObject } from '../store/store.js';
import type { Backup } from './backup-content.js';

/** The host that restores. */
export interface RestoringNode {
  readonly nodeId: NodeId;
  readonly description: NodeDescription;
  readonly addresses: {
    readonly advertiseHost: Ip;
    readonly advertisePort: number;
    readonly dataPathHost: Ip;
  };
}

export interface RestorePlan {
  readonly objects: readonly StoredObject[];
  /** All revisions are above. */
  readonly revisionBase: number;
}

/** The former swarm may have gone on after the backup: so many writes a second at most, for as long. */
const writesPerMs = 10;
const writesMin = 1_000_000;

export function planRestore({ head, objects }: Backup, self: RestoringNode, nowMs: number): RestorePlan {
  const nodes = objects.flatMap(({ kind, object }) => (kind === 'node' ? [object] : []));
  const gone = new Set(nodes.filter((node) => isReplaced(node, self)).map(({ id }) => id));
  const restored = objects.flatMap((each): readonly StoredObject[] => {
    if (each.kind === 'node') {
      const { object: node } = each;
      return node.id === self.nodeId || gone.has(node.id) ? [] : [{ kind: 'node', object: unheardOf(node) }];
    }
    if (each.kind === 'task' && each.object.nodeId !== undefined && gone.has(each.object.nodeId))
      return [{ kind: 'task', object: orphaned(each.object, nowMs) }];
    return [each];
  });
  const known = nodes.find(({ id }) => id === self.nodeId);
  return {
    objects: [...restored, { kind: 'node', object: managerNode(self, known, nowMs) }],
    revisionBase: head.revision + Math.max(writesMin, (nowMs - head.takenAtMs) * writesPerMs),
  };
}

const isReplaced = (node: Node, { nodeId, addresses }: RestoringNode): boolean =>
  node.id !== nodeId &&
  [node.status.addr, node.dataPathAddr].some(
    (address) => address === addresses.advertiseHost || address === addresses.dataPathHost,
  );

function unheardOf({ managerStatus: _, ...node }: Node): Node {
  const status =
    node.status.state === 'down'
      ? node.status
      : { ...node.status, state: 'unknown' as const, message: 'Node was restored from a backup' };
  return { ...node, spec: { ...node.spec, role: 'worker' }, role: 'worker', status };
}

/** As docker node rm leaves it. */
const orphaned = (task: Task, nowMs: number): Task =>
  atLeast(task.status.state, 'complete') ? task : orphanedWithNode(task, nowMs);

function managerNode(
  { nodeId, description, addresses }: RestoringNode,
  known: Node | undefined,
  nowMs: number,
): Node {
  const { advertiseHost, advertisePort, dataPathHost } = addresses;
  const spec = known?.spec ?? { name: '', labels: {}, availability: 'active' };
  return {
    ...{ version: 0, createdAtMs: nowMs, updatedAtMs: nowMs, attachments: [] },
    ...known,
    id: nodeId,
    spec: { ...spec, role: 'manager' },
    role: 'manager',
    description,
    status: { state: 'unknown', message: '', addr: advertiseHost },
    managerStatus: {
      leader: true,
      reachability: 'reachable',
      addr: addressAndPort(advertiseHost, advertisePort),
    },
    dataPathAddr: dataPathHost,
  };
}
