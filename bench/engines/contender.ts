/**
 * One way from a client through a node to a container, built to be measured: two nodes, a task on each, a client. Balanced by
 * an engine, or the *path limit*: the same hops (client's veth, node, sk-ingress, ingress's bridge, container, over VXLAN
 * where the task is on the other node) by static routes to the task's alias, nobody balancing and nothing filtering.
 * No contender tracks connections in the host, which the engine's own bridges would have it do.
 */
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { aliasTable } from '../../src/dataplane/plan/names.js';
import { aliasAddress } from '../../src/dataplane/state.js';
import { defaultAliasRanges } from '../../src/model/network-laws.js';
import type { Cidr, Ip } from '../../src/model/addresses.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { openEngineOf } from '../../test/conformance/engines.js';
import { MeshCluster } from '../../test/support/mesh-cluster.js';
import { withoutTables } from '../../test/support/no-balancer.js';
import { ingressAddress, ownPart, stateOf, vtepOf } from '../../test/unit/dataplane/plan/network-state.js';

export type ContenderName = EngineName | 'limit';

/** `local`: the task is on the node that is called; `remote`: on the other one, over VXLAN. */
export const paths = ['local', 'remote'] as const;
export type Path = (typeof paths)[number];

/** The node that clients call. */
const entryNode = 1;
/** Parts of the tasks: on the entry node, and on the other. */
const parts: Readonly<Record<Path, number>> = { local: 3, remote: 4 };
/** Where tasks listen, and what is published for that: pages, and bulk transfer. */
export const targetPorts = { web: 80, bulk: 81 } as const;
const publishedPorts = { web: 8080, bulk: 8081 } as const;
export type Port = keyof typeof targetPorts;
/** Of wrk's connections; the default range would make those of new connections meet their own in TIME_WAIT. */
const clientPorts = '1024 65535';

/** Programs what both engines share (links, aliases, routes) and nothing that balances. */
const noEngine = withoutTables({ name: 'ipvs', families: [4], planOverlay: () => [], planHost: () => [] });

export class Contender implements AsyncDisposable {
  readonly #undo = new CleanupStack();
  #revision = 0;

  private constructor(
    readonly name: ContenderName,
    readonly cluster: MeshCluster,
  ) {
    this.#undo.use(cluster);
  }

  /** @param namespaces begins their names; unique on this kernel */
  static async create(name: ContenderName, namespaces: string, pinDirectory: string): Promise<Contender> {
    const openEngine = (node: number): BalancerEngine =>
      name === 'limit' ? noEngine : openEngineOf(name, `${pinDirectory}/node${node}`);
    const containers = [
      { part: parts.local, node: 1, ingress: true },
      { part: parts.remote, node: 2, ingress: true },
    ];
    const cluster = await MeshCluster.create({
      ...{ name: namespaces, nodes: [1, 2], containers, outsiders: { client: 100 } },
      ...{ openEngine, bare: true },
    });
    const contender = new Contender(name, cluster);
    try {
      await contender.choose('local');
      await cluster.startContainers();
      await cluster.run('client', 'sysctl', '-qw', `net.ipv4.ip_local_port_range=${clientPorts}`);
      if (name === 'limit') await contender.#routeStatically();
      return contender;
    } catch (err) {
      await contender[Symbol.asyncDispose]();
      throw err;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  /** Leaves that path's task as the only one that takes new flows. */
  async choose(path: Path): Promise<void> {
    if (this.name === 'limit' && this.#revision > 0) return;
    this.#revision += 1;
    const tasks = paths.map((one) => ({
      part: parts[one],
      node: one === 'local' ? 1 : 2,
      serving: one === path,
    }));
    const ports = {
      [publishedPorts.web]: targetPorts.web,
      [publishedPorts.bulk]: targetPorts.bulk,
    };
    await this.cluster.program((node) =>
      stateOf(node, { revision: this.#revision, tasks, ports, ingress: true, vips: {} }),
    );
  }

  /** Name of the namespace that the path's task lives in. */
  taskOf(path: Path): string {
    return `c${parts[path]}`;
  }

  /** What the client calls to go that path. */
  target(path: Path, port: Port): { readonly host: Ip; readonly port: number } {
    return this.name === 'limit'
      ? { host: aliasOf(path), port: targetPorts[port] }
      : { host: vtepOf(entryNode), port: publishedPorts[port] };
  }

  /** The client's way to the aliases, and straight back from the other node rather than by a gateway that looks at the alias. */
  async #routeStatically(): Promise<void> {
    for (const path of paths)
      await this.cluster.run(
        'client',
        ...`ip route add ${aliasOf(path)} via ${vtepOf(entryNode)}`.split(' '),
      );
    const back = `ip route replace default via ${ingressAddress(ownPart(entryNode))} dev eth0 table ${aliasTable}`;
    await this.cluster.run(this.taskOf('remote'), ...back.split(' '), 'onlink');
  }
}

const aliasOf = (path: Path): Ip =>
  aliasAddress(
    defaultAliasRanges[4],
    '10.0.0.0/24' as Cidr,
    ingressAddress(ownPart(entryNode)),
    ingressAddress(parts[path]),
  );
