/** What on a node belongs to somebody else, of every kind that the daemon writes too: it must be there in the end as it was. */
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { native } from '../../src/runtime/native.js';
import { Ipvs } from '../../src/dataplane/netlink/ipvs.js';
import type { VirtualServerKey } from '../../src/dataplane/netlink/ipvs.js';
import type { Ip } from '../../src/model/addresses.js';
import type { MeshCluster } from '../support/mesh-cluster.js';

const made = [
  'ip link add stranger0 type bridge',
  'ip addr add 10.66.0.1/24 dev stranger0',
  'ip link set stranger0 up',
  'ip link add stranger1 type veth peer name stranger2',
  'ip link set stranger1 master stranger0 up',
  'ip neigh add 10.66.0.9 lladdr 02:00:00:00:66:09 dev stranger0 nud permanent',
  'bridge fdb add 02:00:00:00:66:0a dev stranger1 master static',
  'ip route add 10.67.0.0/16 via 10.66.0.9 dev stranger0',
  'ip route add 10.68.0.0/16 dev stranger0 table 67',
  'ip rule add pref 67 from 10.66.0.0/24 lookup 67',
  'iptables -N STRANGER',
  'iptables -A STRANGER -s 10.66.0.0/24 -j RETURN',
  'iptables -A FORWARD -j STRANGER',
  'iptables -t nat -A POSTROUTING -s 10.66.0.0/24 -j MASQUERADE',
] as const;
const ofIpvs = ['ipset create stranger hash:ip', 'ipset add stranger 10.66.0.9'] as const;

const read = [
  'ip -o -4 addr show stranger0',
  'ip neigh show dev stranger0 nud permanent',
  'bridge fdb show dev stranger1 state static',
  'ip route show table all proto boot',
  'ip rule show pref 67',
  'iptables -S STRANGER',
  // Of these, all but our own jumps.
  'iptables -S FORWARD',
  'iptables -t nat -S POSTROUTING',
] as const;
const links = ['stranger0', 'stranger1'] as const;

const foreignServer: VirtualServerKey = { kind: 'fwmark', family: 4, fwmark: 7 };

/** On one node. */
export class Strangers {
  #before = '';

  private constructor(
    private readonly cluster: MeshCluster,
    private readonly node: number,
    private readonly engine: EngineName,
  ) {}

  static async settle(cluster: MeshCluster, node: number, engine: EngineName): Promise<Strangers> {
    const strangers = new Strangers(cluster, node, engine);
    const path = strangers.#namespacePath;
    native().createNetns(path);
    for (const line of [...made, ...(engine === 'ipvs' ? ofIpvs : [])]) await strangers.#run(line);
    if (engine === 'ipvs') {
      using ipvs = await Ipvs.open(cluster.places(node).hostNetns);
      await ipvs.addVirtualServer({ key: foreignServer, scheduler: 'rr', persistenceS: null });
      const server = {
        address: '10.66.0.81' as Ip,
        port: 8080,
        forwarding: 'masquerade',
        weight: 3,
      } as const;
      await ipvs.addRealServer(foreignServer, server);
    }
    strangers.#before = await strangers.#picture();
    return strangers;
  }

  /** What is other than it was; null: nothing. */
  async changed(): Promise<string | null> {
    const now = await this.#picture();
    return now === this.#before ? null : `node${this.node}: strangers had\n${this.#before}\nand have\n${now}`;
  }

  /** Beside the overlays' own. */
  get #namespacePath(): string {
    return `${this.cluster.places(this.node).netnsDirectory}/stranger`;
  }

  async #picture(): Promise<string> {
    const texts: string[] = [];
    for (const line of read)
      texts.push(...(await this.#run(line)).split('\n').filter((row) => !row.includes('SKEP-')));
    for (const link of links) {
      // The index too: a link that was removed and made again has another.
      const [row] = JSON.parse(await this.#run(`ip -j link show ${link}`)) as Record<string, unknown>[];
      texts.push(JSON.stringify([row?.['ifindex'], link, row?.['address'], row?.['master'], row?.['mtu']]));
    }
    texts.push(await this.cluster.runAt(this.#namespacePath, 'ip', '-o', 'link', 'show', 'lo'));
    if (this.engine === 'ipvs') {
      using ipvs = await Ipvs.open(this.cluster.places(this.node).hostNetns);
      const servers = (await ipvs.listVirtualServers()).map(({ key, scheduler }) =>
        JSON.stringify([key, scheduler]),
      );
      texts.push(...servers.filter((text) => text.includes(JSON.stringify(foreignServer))));
      const real = await ipvs.listRealServers(foreignServer);
      texts.push(JSON.stringify(real.map(({ address, port, weight }) => [address, port, weight])));
      texts.push(await this.#run('ipset save stranger'));
    }
    return texts.join('\n');
  }

  #run(line: string): Promise<string> {
    return this.cluster.run(`node${this.node}`, ...line.split(' '));
  }
}
