/**
 * Who is where on one overlay: a VXLAN forwarding entry (MAC -> VTEP), the bridge's forwarding entry and a permanent
 * neighbour for every remote endpoint and every peer's own address. All three are needed: neigh-suppress answers
 * a container's ARP from the bridge's neighbour table only if the bridge also knows the MAC behind the VXLAN port.
 * Nothing is learned from packets and nothing is flooded to peers. Cost: three entries per remote endpoint.
 */
import type { Ip, Mac } from '../../model/addresses.js';
import type { NodeId } from '../../model/ids.js';
import type { SandboxEndpoint } from '../sandbox.js';
import { portName } from '../sandbox.js';
import type { Overlay } from '../state.js';
import { bridgeName, hostPortName, vxlanName } from './names.js';
import type { KernelObject } from './objects.js';

interface Station {
  readonly address: Ip;
  readonly mac: Mac;
}

/** FDB and neighbour entries of one overlay, in its namespace. */
export function planNeighbors(
  overlay: Overlay,
  sandboxes: readonly SandboxEndpoint[],
  nodeId: NodeId,
): KernelObject[] {
  const vteps = new Map(overlay.peers.map((peer) => [peer.nodeId, peer.vtep]));
  const remote = (station: Station, vtep: Ip): KernelObject[] => [
    { kind: 'fdb', device: vxlanName, mac: station.mac, vtep },
    { kind: 'fdb', device: vxlanName, mac: station.mac, vtep: null },
    { kind: 'neighbour', device: bridgeName, address: station.address, mac: station.mac },
  ];
  // A station on this node is known to stand behind its port; so its first frame need not be flooded either.
  const local = (station: Station, device: string): KernelObject[] => [
    { kind: 'fdb', device, mac: station.mac, vtep: null },
    { kind: 'neighbour', device: bridgeName, address: station.address, mac: station.mac },
  ];
  return [
    ...overlay.peers.flatMap((peer) => remote(peer, peer.vtep)),
    ...overlay.endpoints.flatMap((endpoint) => {
      // A node that is not (or no longer) a peer cannot be reached: its endpoints get no entry until it is one.
      const vtep = endpoint.nodeId === nodeId ? undefined : vteps.get(endpoint.nodeId);
      return vtep === undefined ? [] : remote(endpoint, vtep);
    }),
    ...sandboxes.flatMap((endpoint) => local(endpoint, portName(endpoint.endpointId))),
    ...(overlay.ingress ? local(overlay.own, hostPortName) : []),
  ];
}
