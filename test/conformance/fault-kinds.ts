/**
 * What somebody may do to a node's kernel. A fault deletes, changes or adds one object of ours; what it adds or points at
 * belongs to nobody, so that a packet which follows it is lost rather than answered by a task that it was not sent to.
 */
import type { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Op } from '../../src/dataplane/plan/diff.js';
import { native } from '../../src/runtime/native.js';
import { opLine } from '../../src/dataplane/plan/diff.js';
import type { Scope, ScopePlan } from '../../src/dataplane/plan/node.js';
import { scopeName } from '../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../src/dataplane/plan/objects.js';
import { identity, satisfies } from '../../src/dataplane/plan/objects.js';
import type { Vni } from '../../src/model/ids.js';
import type { Random } from './fault-random.js';

export interface Fault {
  /** In a word or two, for the report. */
  readonly kind: string;
  readonly scope: Scope;
  readonly what: string;
  /** Two faults of the same one are not told apart. */
  readonly id: string;
  /** What was changed, as it was. */
  readonly was?: KernelObject;
  /** Of whoever has it open, too. */
  readonly endsNamespace?: true;
  inject(kernel: LinuxKernel): Promise<void>;
  /** @param objects all that the scope holds now */
  isRepaired(objects: readonly KernelObject[]): boolean;
}

/** What could be done to one object; made up when it is. */
export interface Mischief {
  readonly kind: string;
  make(random: Random): Fault;
}

/** Of each there must be some in every run. */
export const namedKinds = (engine: EngineName): readonly string[] => [
  ...['virtualServer deleted', 'realServer deleted', 'realServer changed', 'foreign realServer'],
  ...['fdb deleted', 'fdb changed', 'foreign fdb'],
  ...['neighbour deleted', 'neighbour changed', 'foreign neighbour'],
  ...['route deleted', 'foreign route', 'rule deleted', 'foreign rule'],
  ...['chain flushed', 'jump deleted', 'sysctl changed'],
  ...['link down', 'link deleted', 'port learns', 'overlay namespace deleted'],
  ...(engine === 'ebpf'
    ? ['filter deleted', 'aliasNode deleted', 'localAddress deleted', 'foreign localAddress']
    : ['ipsetEntry deleted', 'ipsetEntry changed', 'ipvsTimeouts changed']),
];

const nobodysMac = '02:42:0a:00:0f:fe';
const nobodysVtep = '192.168.50.254';

/** All that may be done to a scope. */
export const mischiefsIn = (plan: ScopePlan, overlayPath: (vni: Vni) => string): Mischief[] => [
  ...objectMischiefs(plan),
  ...(plan.scope.kind === 'overlay' ? [namespaceMischief(plan, overlayPath(plan.scope.vni))] : []),
];

/** As `ip netns delete`: repaired when all is there again. */
function namespaceMischief({ scope, objects }: ScopePlan, path: string): Mischief {
  const kind = 'overlay namespace deleted';
  const isRepaired: Fault['isRepaired'] = (found) =>
    objects.every((object) => spared(object) || there(object)(found));
  const inject = async (): Promise<void> => native().deleteNetns(path);
  const id = `${scopeName(scope)} namespace`;
  const fault: Fault = { kind, scope, what: `${id} deleted`, id, endsNamespace: true, inject, isRepaired };
  return { kind, make: () => fault };
}

function objectMischiefs({ scope, objects }: ScopePlan): Mischief[] {
  return objects
    .filter((object) => !spared(object))
    .flatMap((object): Mischief[] => [
      ...(undeletable.has(object.kind)
        ? []
        : [
            {
              kind: `${object.kind} deleted`,
              make: () => made(`${object.kind} deleted`, scope, { op: 'delete', object }, there(object)),
            },
          ]),
      ...changes(object).map(([kind, change]) => ({
        kind,
        make: (random: Random) =>
          made(kind, scope, { op: 'change', object: change(random), was: object }, there(object)),
      })),
      ...additions(object).map((add) => ({
        kind: `foreign ${object.kind}`,
        make: (random: Random) => {
          const added = add(random);
          return made(`foreign ${object.kind}`, scope, { op: 'add', object: added }, gone(added));
        },
      })),
    ]);
}

type Variant = (random: Random) => KernelObject;

/** Other values of an object of ours. */
function changes(object: KernelObject): (readonly [kind: string, change: Variant])[] {
  const change = (over: (random: Random) => object): (readonly [string, Variant])[] => [
    [`${object.kind} changed`, (random) => ({ ...object, ...over(random) })],
  ];
  switch (object.kind) {
    case 'link': {
      const { bridgePort } = object;
      return [
        ['link down', () => ({ ...object, up: false })],
        ...(bridgePort
          ? [['port learns', () => ({ ...object, bridgePort: { ...bridgePort, learning: true } })] as const]
          : []),
      ];
    }
    case 'chain':
      return [['chain flushed', () => ({ ...object, rules: [] })]];
    case 'fdb':
      return object.vtep === null ? [] : change(() => ({ vtep: nobodysVtep }));
    case 'neighbour':
    case 'aliasNode':
      return change(() => ({ mac: nobodysMac }));
    case 'sysctl':
      return change(() => ({ value: object.value === '0' ? '1' : '0' }));
    case 'realServer':
      return change((random) => ({ weight: 2 + random.integer(50) }));
    case 'virtualServer':
      return change(() => ({ scheduler: 'wrr' }));
    case 'ipsetEntry':
      return change(() => ({ mark: (object.mark & 0xff000000) >>> 0 }));
    case 'ipvsTimeouts':
      return change((random) => ({ udpS: 10 + random.integer(100) }));
    default:
      return [];
  }
}

/** Objects like it that nobody wants. */
function additions(object: KernelObject): Variant[] {
  const add = (over: (part: number) => object): Variant[] => [
    (random) => ({ ...object, ...over(100 + random.integer(100)) }),
  ];
  switch (object.kind) {
    case 'fdb':
      return add((part) => ({ mac: `02:42:0a:00:0f:${part.toString(16)}` }));
    case 'neighbour':
      return add((part) => ({ address: object.address.replace(/\d+$/, String(part)), mac: nobodysMac }));
    case 'route': {
      const { destination } = object;
      return destination.endsWith('/32')
        ? add((part) => ({ destination: destination.replace(/\d+\/32$/, `${part}/32`) }))
        : [];
    }
    case 'rule':
      return add((part) => ({ priority: 50, mark: part }));
    case 'realServer':
      return add((part) => ({ address: object.address.replace(/\d+$/, String(part)) }));
    case 'localAddress':
      return add((part) => ({ address: `10.99.0.${part}` }));
    case 'aliasNode':
      return add((part) => ({ part, mac: nobodysMac }));
    default:
      return [];
  }
}

/** Objects that come and go with others, or that taking away is no mishap of a kernel object but the end of the node. */
const spared = (object: KernelObject): boolean =>
  object.kind === 'namespace' ||
  object.kind === 'ipset' ||
  (object.kind === 'sysctl' && object.ifPresent === true) ||
  (object.kind === 'link' && object.name === 'lo') ||
  (object.kind === 'chain' && (object.rules === undefined || object.rules.length === 0));

/** Never taken away whole: a parameter is there or not, and a chain is emptied, as `iptables -F` does. */
const undeletable: ReadonlySet<KernelObject['kind']> = new Set(['sysctl', 'chain', 'ipvsTimeouts']);

const made = (kind: string, scope: Scope, op: Op, isRepaired: Fault['isRepaired']): Fault => ({
  kind,
  scope,
  what: `${scopeName(scope)}: ${opLine(op)}`,
  id: `${scopeName(scope)} ${identity(op.object)}`,
  ...(op.op === 'change' ? { was: op.was } : {}),
  inject: (kernel) => kernel.apply(scope, [op]),
  isRepaired,
});

const there =
  (wanted: KernelObject): Fault['isRepaired'] =>
  (objects) =>
    objects.some((object) => identity(object) === identity(wanted) && satisfies(object, wanted));

const gone =
  (unwanted: KernelObject): Fault['isRepaired'] =>
  (objects) =>
    !objects.some((object) => identity(object) === identity(unwanted));
