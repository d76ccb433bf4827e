/** A small cluster's state for the tests of DNS: two overlays and ingress, some services, one asker on both overlays. */
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../../src/model/ids.js';
import type { Endpoint, NodeNetworkState, Overlay, OverlayService } from '../../../src/dataplane/state.js';

export const ip = (text: string): Ip => text as Ip;
export const networkId = (text: string): NetworkId => text as NetworkId;

export function endpoint(
  service: string,
  slot: number,
  address: string,
  extra: Partial<Endpoint> = {},
): Endpoint {
  return {
    taskId: `task-${service}-${slot}` as TaskId,
    serviceId: service as ServiceId,
    nodeId: 'node1' as NodeId,
    address: ip(address),
    mac: '02:00:00:00:00:01' as Mac,
    name: `${service}.${slot}.t${slot}`,
    serving: true,
    weight: 1,
    aliases: [],
    nameservers: [],
    ...extra,
  };
}

export const service = (name: string, vip?: string, aliases: readonly string[] = []): OverlayService => ({
  id: name as ServiceId,
  name,
  aliases,
  ...(vip === undefined ? {} : { vip: ip(vip) }),
  scheduler: 'rr',
  affinityS: null,
});

export function overlay(name: string, vni: number, base: string, content: Partial<Overlay>): Overlay {
  return {
    id: networkId(name),
    name,
    vni: vni as Vni,
    subnet: `${base}.0/24` as Cidr,
    gateway: ip(`${base}.1`),
    ingress: false,
    internal: false,
    underlayMtuBytes: null,
    encrypted: false,
    own: { address: ip(`${base}.250`), mac: '02:00:00:00:00:fa' as Mac },
    peers: [],
    endpoints: [],
    services: [],
    ...content,
  };
}

export const state = (...overlays: Overlay[]): NodeNetworkState => ({
  revision: 7,
  nodeId: 'node1' as NodeId,
  vtep: ip('192.0.2.1'),
  dataPathPort: 4789,
  aliasRange: '240.0.0.0/4' as Cidr,
  overlays,
  publishedPorts: [],
  encryptionKeys: [],
});
