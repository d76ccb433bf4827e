/**
 * The same objects made with the tools that there are for them: ip, bridge, ipset, iptables and ipvsadm, a process each, by one
 * shell that does nothing else. What no tool makes (BPF maps and programs) is left out of their side.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { BalancerPlan } from '../../src/dataplane/plan/balancing.js';
import type { Op } from '../../src/dataplane/plan/diff.js';
import { diff } from '../../src/dataplane/plan/diff.js';
import { planHostScope, planOverlayScope } from '../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../src/dataplane/plan/objects.js';
import { markName } from '../../src/dataplane/plan/objects.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import type { Cost } from './node.js';

const exec = promisify(execFile);
const scriptMsMax = 900_000;
const mtuBytes = 1450;

/** Operations by namespace: the host's, and the overlays' by id. */
export type ScopedOps = ReadonlyMap<string, readonly Op[]>;

/** What leads from one state to another, as the node plans it. @param before null: nothing is there */
export function opsBetween(
  before: NodeNetworkState | null,
  after: NodeNetworkState,
  balancing: BalancerPlan,
): ScopedOps {
  const plans = (state: NodeNetworkState): Map<string, readonly KernelObject[]> =>
    new Map([
      ...state.overlays.map((overlay): [string, readonly KernelObject[]] => [
        overlay.id,
        planOverlayScope({ state, sandboxes: [] }, overlay, mtuBytes, balancing).objects,
      ]),
      ['host', planHostScope(state, mtuBytes, balancing, []).objects],
    ]);
  const [was, is] = [before && plans(before), plans(after)];
  return new Map(
    [...is].map(([scope, objects]) => [scope, diff(objects, was?.get(scope) ?? [], () => true)]),
  );
}

/** The operations of all namespaces, e.g. to count them. */
export const allOf = (ops: ScopedOps): readonly Op[] => [...ops.values()].flat();

/** Namespaces of their own, in which tools do what the node does in its. */
export class ToolsNode implements AsyncDisposable {
  private constructor(
    private readonly name: string,
    private readonly scopes: readonly string[],
    private readonly directory: string,
  ) {}

  static async create(name: string, scopes: readonly string[]): Promise<ToolsNode> {
    const node = new ToolsNode(name, scopes, await mkdtemp(join(tmpdir(), `${name}-`)));
    for (const scope of scopes) {
      await exec('ip', ['netns', 'add', node.#namespace(scope)]);
      await exec('ip', ['-n', node.#namespace(scope), 'link', 'set', 'lo', 'up']);
    }
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const scope of this.scopes) await exec('ip', ['netns', 'del', this.#namespace(scope)]);
    await rm(this.directory, { recursive: true });
  }

  /**
   * Does the operations in order. Rejects when a tool fails.
   * @param share of each namespace's commands that is done, from the first on
   * @returns how many processes that took, how long, and their processor time
   */
  async apply(ops: ScopedOps, share = 1): Promise<Cost & { readonly processes: number }> {
    let processes = 0;
    let ms = 0;
    let processorMs = 0;
    for (const [scope, some] of ops) {
      const commands = some.flatMap(commandsOf);
      const lines = commands.slice(
        0,
        Math.max(Math.min(commands.length, 50), Math.ceil(share * commands.length)),
      );
      const script = join(this.directory, `${scope}.sh`);
      await writeFile(script, ['set -e', ...lines, 'times', ''].join('\n'));
      const begin = performance.now();
      const { stdout } = await exec('nsenter', [`--net=/run/netns/${this.#namespace(scope)}`, 'sh', script], {
        timeout: scriptMsMax,
      });
      ms += performance.now() - begin;
      processorMs += processorMsOf(stdout);
      processes += lines.length;
    }
    return { processes, ms, processorMs };
  }

  /** How many processes the operations take. */
  count(ops: ScopedOps): number {
    return allOf(ops).flatMap(commandsOf).length;
  }

  #namespace(scope: string): string {
    return `${this.name}-${scope}`;
  }
}

/** What the shell's `times` says: its own time and its children's, a line each, in user and in kernel. */
function processorMsOf(said: string): number {
  const seconds = [...said.matchAll(/(\d+)m([\d.]+)s/g)].map(([, m, s]) => Number(m) * 60 + Number(s));
  return seconds.slice(-4).reduce((sum, one) => sum + one, 0) * 1000;
}

/** A line of shell for each process. */
function commandsOf({ op, object }: Op): string[] {
  const gone = op === 'delete';
  switch (object.kind) {
    case 'link': {
      if (object.name === 'lo') return [];
      const { name, mac, mtu, master, vxlan } = object;
      const type = vxlan
        ? `vxlan id ${vxlan.vni} dstport ${vxlan.port} local ${vxlan.local} nolearning`
        : object.type === 'bridge'
          ? 'bridge'
          : `veth peer name ${name}p`;
      return gone
        ? [`ip link del ${name}`]
        : [
            `ip link add ${name}${mac ? ` address ${mac}` : ''} type ${type}`,
            `ip link set ${name}${mtu ? ` mtu ${mtu}` : ''}${master ? ` master ${master}` : ''} up`,
          ];
    }
    case 'sysctl':
      return object.ifPresent ? [] : [`sysctl -qw ${object.path.replaceAll('/', '.')}=${object.value}`];
    case 'address':
      return [
        `ip addr ${gone ? 'del' : 'add'} ${object.address}/${object.prefixLength} dev ${object.device}`,
      ];
    case 'fdb': {
      const { mac, device, vtep } = object;
      const what = `${mac} dev ${device} ${vtep === null ? 'master' : `dst ${vtep} self`}`;
      return [
        gone
          ? `bridge fdb del ${what}`
          : `bridge fdb replace ${what} ${vtep === null ? 'static' : 'permanent'}`,
      ];
    }
    case 'neighbour': {
      const { address, device, mac } = object;
      return [
        gone
          ? `ip neigh del ${address} dev ${device}`
          : `ip neigh replace ${address} lladdr ${mac} dev ${device} nud permanent`,
      ];
    }
    case 'route': {
      const { type, destination, device, via, table } = object;
      const way = `${via === null ? '' : `via ${via} onlink `}dev ${device} table ${table} proto 94`;
      return [`ip route ${gone ? 'del' : 'replace'} ${type} ${destination} ${way}`];
    }
    case 'rule': {
      const { priority, from, to, iif, mark, table } = object;
      const which = `${from ? ` from ${from}` : ''}${to ? ` to ${to}` : ''}${iif ? ` iif ${iif}` : ''}${mark === undefined ? '' : ` fwmark ${mark}`}`;
      return [`ip rule ${gone ? 'del' : 'add'} priority ${priority}${which} lookup ${table}`];
    }
    case 'ipset': {
      const creation = { 'hash:ip': '', 'hash:net,port': '', 'bitmap:port': ' range 1-65535' }[object.type];
      return [
        gone
          ? `ipset destroy ${object.name}`
          : `ipset create ${object.name} ${object.type}${creation} skbinfo`,
      ];
    }
    case 'ipsetEntry': {
      const { set, element, mark } = object;
      return [gone ? `ipset del ${set} ${element}` : `ipset add ${set} ${element} skbmark ${markName(mark)}`];
    }
    case 'chain': {
      const { table, name, rules = [] } = object;
      return gone
        ? [`iptables -t ${table} -F ${name}`, `iptables -t ${table} -X ${name}`]
        : [
            `iptables -t ${table} -N ${name}`,
            ...rules.map((rule) => `iptables -t ${table} -A ${name} ${rule}`),
          ];
    }
    case 'jump':
      return [`iptables -t ${object.table} ${gone ? '-D' : '-I'} ${object.chain} -j ${object.target}`];
    case 'virtualServer': {
      const { mark, scheduler, frontend } = object;
      if (frontend) return [];
      return [gone ? `ipvsadm -D -f ${mark}` : `ipvsadm -A -f ${mark} -s ${scheduler}`];
    }
    case 'realServer': {
      const { mark, address, port, method, weight, mac } = object;
      if (mac) return [];
      const server = `-f ${mark} -r ${address}${port === 0 ? '' : `:${port}`}`;
      return [
        gone
          ? `ipvsadm -d ${server}`
          : `ipvsadm -a ${server} ${method === 'direct' ? '-g' : '-m'} -w ${weight}`,
      ];
    }
    case 'ipvsTimeouts': {
      const { tcpS, tcpFinS, udpS } = object;
      return gone ? [] : [`ipvsadm --set ${tcpS} ${tcpFinS} ${udpS}`];
    }
    // The namespace itself is made beforehand; of the rest no tool makes anything.
    default:
      return [];
  }
}
