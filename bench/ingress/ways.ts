/** The ways from a client to a web server in a container, each by what a client would call. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { bulkBytes, nginxConf, site } from '../harness/site.js';
import { createTask, untilAnswered } from '../harness/tasks.js';

/** The client calls the first node; the container is there, or on the other one. */
export const places = { here: 'node1', elsewhere: 'node2' } as const;
export type Place = keyof typeof places;
const entry = places.here;

/** A way, as one contender of the bench. */
export interface Way {
  readonly name: string;
  readonly lab: ManagedLab;
  /** Without a path. */
  readonly urlOf: (place: Place) => string;
}

const all = Object.entries(places) as [Place, string][];
const meshPorts = { here: 8081, elsewhere: 8082 } as const;
const hostPort = 8083;
const barePort = 80;
/** The path limit's network, its addresses by place, and its tunnel beside the engines' (RFC 7348 leaves the port open). */
const limit = {
  ...{ subnet: '10.99.0', vni: 9_999, port: 4_999, gateway: 1 },
  hosts: { here: 11, elsewhere: 12 },
  directory: '/run/limit',
} as const;

const urlAt = (address: string, port: number): string => `http://${address}:${port}`;

/** A published port, through the mesh of whoever manages. */
export async function mesh(lab: ManagedLab): Promise<Way> {
  const urlOf = (place: Place): string => urlAt(lab.addressOf(entry), meshPorts[place]);
  for (const [place, node] of all) {
    await createTask(lab, `mesh-${place}`, node, `--publish ${meshPorts[place]}:80 ${site.image}`);
    await untilAnswered((argv, timeoutMs) => lab.client(argv, timeoutMs), urlOf(place));
  }
  return { name: lab.title, lab, urlOf };
}

/** A port of the node that has the task, as published with `mode=host`: the engine's translation and no mesh. */
export async function hostMode(lab: ManagedLab): Promise<Way> {
  for (const [place, node] of all)
    await createTask(
      lab,
      `host-${place}`,
      node,
      `--publish mode=host,published=${hostPort},target=80 ${site.image}`,
    );
  return { name: 'host mode', lab, urlOf: (place) => urlAt(lab.addressOf(places[place]), hostPort) };
}

/** The node's own network: nothing between the client's link and the server. */
export async function bare(lab: ManagedLab): Promise<Way> {
  for (const [, node] of all) await lab.engine(node, ['run', '-d', '--network', 'host', site.image]);
  return { name: 'bare', lab, urlOf: (place) => urlAt(lab.addressOf(places[place]), barePort) };
}

/**
 * The path limit: the hops of an overlay (client, entry node, a bridge in a namespace of its own, for the other node a VXLAN tunnel,
 * the server's namespace) by static routes; nobody balances or translates, and none of it is tracked.
 */
export async function pathLimit(lab: ManagedLab): Promise<Way> {
  const { subnet, vni, port, gateway, hosts, directory } = limit;
  for (const [place, node] of all) {
    const peer = lab.addressOf(places[place === 'here' ? 'elsewhere' : 'here']);
    await lab.sh(
      node,
      `set -e
      ip netns add limit-bridge && ip netns add limit-server
      ip -n limit-bridge link add br0 mtu 1450 type bridge
      ip link add limit-vx mtu 1450 type vxlan id ${vni} dstport ${port} local ${lab.addressOf(node)} remote ${peer}
      ip link set limit-vx netns limit-bridge
      ip link add limit0 mtu 1450 type veth peer name host0 mtu 1450 netns limit-bridge
      ip -n limit-server link add eth0 mtu 1450 type veth peer name server0 mtu 1450 netns limit-bridge
      for port in limit-vx host0 server0; do ip -n limit-bridge link set $port master br0 up; done
      ip -n limit-bridge link set br0 up
      ip -n limit-server link set lo up
      ip -n limit-server link set eth0 up
      ip -n limit-server addr add ${subnet}.${hosts[place]}/24 dev eth0
      ip -n limit-server route add default via ${subnet}.${gateway}
      ip link set limit0 up
      iptables -t raw -I PREROUTING -d ${subnet}.0/24 -j CT --notrack
      iptables -t raw -I PREROUTING -s ${subnet}.0/24 -j CT --notrack
      iptables -I FORWARD -d ${subnet}.0/24 -j ACCEPT
      iptables -I FORWARD -s ${subnet}.0/24 -j ACCEPT
      mkdir ${directory}
      truncate -s ${bulkBytes} ${directory}${site.bulkPath}
      cat >${directory}/nginx.conf <<'END'\n${nginxConf(directory)}\nEND
      ip netns exec limit-server nginx -c ${directory}/nginx.conf </dev/null >/dev/null 2>&1`,
    );
  }
  await lab.sh(entry, `ip addr add ${subnet}.${gateway}/24 dev limit0`);
  await lab.client(['ip', 'route', 'add', `${subnet}.0/24`, 'via', lab.addressOf(entry)]);
  return { name: 'limit', lab, urlOf: (place) => urlAt(`${subnet}.${hosts[place]}`, 80) };
}
