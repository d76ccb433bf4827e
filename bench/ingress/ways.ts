/** The ways from a client to a web server in a container, each by what a client would call. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { nginxConf, site, siteImage } from '../harness/site.js';

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
const tasksDeadlineMs = 180_000;
const meshPorts = { here: 8081, elsewhere: 8082 } as const;
const hostPort = 8083;
const barePort = 80;
/** The path limit's network, its addresses by node, and its tunnel beside the engines' (RFC 7348 leaves the port open). */
const limit = { bridge: 'limit0', subnet: '10.99.0', vni: 9_999, port: 4_999, netns: 'limit' } as const;

const urlAt = (address: string, port: number): string => `http://${address}:${port}`;

/** A published port, through the mesh of whoever manages. */
export async function mesh(lab: ManagedLab, name: string): Promise<Way> {
  for (const [place, node] of all)
    await create(lab, `mesh-${place}`, node, `--publish ${meshPorts[place]}:80`);
  return { name, lab, urlOf: (place) => urlAt(lab.addressOf(entry), meshPorts[place]) };
}

/** A port of the node that has the task, as published with `mode=host`: the engine's translation and no mesh. */
export async function hostMode(lab: ManagedLab): Promise<Way> {
  for (const [place, node] of all)
    await create(lab, `host-${place}`, node, `--publish mode=host,published=${hostPort},target=80`);
  return { name: 'host mode', lab, urlOf: (place) => urlAt(lab.addressOf(places[place]), hostPort) };
}

/** The node's own network: nothing between the client's link and the server. */
export async function bare(lab: ManagedLab): Promise<Way> {
  for (const [, node] of all) await lab.engine(node, ['run', '-d', '--network', 'host', site.image]);
  return { name: 'bare', lab, urlOf: (place) => urlAt(lab.addressOf(places[place]), barePort) };
}

/**
 * The path limit: client, entry node, a bridge, for the other node a VXLAN tunnel, and a namespace, as an overlay has them, by
 * static routes; nobody balances or translates, and none of it is tracked.
 */
export async function pathLimit(lab: ManagedLab): Promise<Way> {
  const { bridge, subnet, vni, port, netns } = limit;
  const hosts = { here: 11, elsewhere: 12 } as const;
  for (const [place, node] of all) {
    const peer = lab.addressOf(places[place === 'here' ? 'elsewhere' : 'here']);
    const own = lab.addressOf(node);
    await lab.sh(
      node,
      `set -e
      ip link add ${bridge} type bridge
      ip link add limit-vx type vxlan id ${vni} dstport ${port} local ${own} remote ${peer}
      ip link set limit-vx master ${bridge} up
      ip netns add ${netns}
      ip link add limit-veth type veth peer name eth0 netns ${netns}
      ip link set limit-veth master ${bridge} up
      ip link set ${bridge} mtu 1450 up
      ip netns exec ${netns} sh -c 'ip link set lo up; ip link set eth0 mtu 1450 up; ip addr add ${subnet}.${hosts[place]}/24 dev eth0; ip route add default via ${subnet}.1'
      ${node === entry ? `ip addr add ${subnet}.1/24 dev ${bridge}` : ''}
      sysctl -qw net.ipv4.ip_forward=1
      iptables -I FORWARD -d ${subnet}.0/24 -j ACCEPT
      iptables -I FORWARD -s ${subnet}.0/24 -j ACCEPT
      iptables -t raw -I PREROUTING -d ${subnet}.0/24 -j CT --notrack
      iptables -t raw -I PREROUTING -s ${subnet}.0/24 -j CT --notrack
      mkdir -p /run/limit && cat >/run/limit/nginx.conf
      ip netns exec ${netns} nginx -c /run/limit/nginx.conf`.replace(
        'cat >/run/limit/nginx.conf',
        `cat >/run/limit/nginx.conf <<'END'\n${nginxConf('/run/limit')}\nEND\n`,
      ),
    );
  }
  await lab.client(['ip', 'route', 'add', `${subnet}.0/24`, 'via', lab.addressOf(entry)]);
  return { name: 'limit', lab, urlOf: (place) => urlAt(`${subnet}.${hosts[place]}`, 80) };
}

/** The image, where it is needed. */
export const loadSite = (lab: ManagedLab): Promise<void> => lab.loadImage(siteImage);

async function create(lab: ManagedLab, name: string, node: string, options: string): Promise<void> {
  const words = `service create -d --no-resolve-image --name ${name} --constraint node.hostname==${node}`;
  await lab.must(entry, `${words} ${options} ${site.image}`);
  await lab.until(
    entry,
    `service ls --filter name=${name} --format {{.Replicas}}`,
    (output) => output === '1/1',
    tasksDeadlineMs,
  );
}
