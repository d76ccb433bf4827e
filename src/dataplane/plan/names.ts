/** Names and numbers by which everything of ours in the kernel is recognised. */
import type { Cidr, Family, Ip, Mac } from '../../model/addresses.js';
import { bytesToMac, hostPart, macToBytes } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import type { PublishedPort } from '../state.js';
import { markPrefix } from '../state.js';

/** File name of an overlay's namespace, in the directory of named namespaces. */
export const overlayNamespace = (vni: Vni): string => `${overlayNamespacePrefix}${vni}`;
export const overlayNamespacePrefix = 'skep-';

export const bridgeName = 'br0';
export const vxlanName = 'vxlan0';
/** The veth pair between ingress and the host: the port on ingress's bridge, and the host's end. */
export const hostPortName = 'host0';
export const hostLinkName = 'sk-ingress';

/** A set of addresses is one of a family: two that have a place in the same namespace need two names. */
const familySet = (family: Family, name: string): string =>
  family === 4 ? `skep-${name}` : `skep-v${family}-${name}`;
/**
 * ipset of a published protocol (port -> mark) in the host, and of the VIPs (address -> mark) in an overlay. A set of ports alone,
 * which knows TCP and UDP, serves both families.
 */
export const portSet = (family: Family, protocol: PublishedPort['protocol']): string =>
  familySet(protocol === 'sctp' ? family : 4, protocol);
export const vipSet = (family: Family): string => familySet(family, 'vip');
/** Of published ports that listen on some addresses only, and of those that listen on this device only: (address, port) -> mark. */
export const addressSet = (family: Family): string => familySet(family, 'addresses');
export const deviceSet = (family: Family, device: string): string => familySet(family, `if-${device}`);
/** Of limited ports that listen on the loopback network, as their calls come back from the mirror: see ipvs-loopback.ts. */
export const loopbackSet = (family: Family): string => familySet(family, 'loopback');
/**
 * As whom `ipvs` lets tasks see a node's own calls of its loopback network. On no network, and never leaves the tunnel: of IPv4
 * it is link-local; what is so of IPv6 cannot be routed at all, and it is a part of Skep's own network.
 */
export const mirrorAddresses: Readonly<Record<Family, Ip>> = {
  4: '169.254.94.94' as Ip,
  6: 'fd53:6b65:70a1:1::94' as Ip,
};
export const isOurSet = (name: string): boolean => name.startsWith('skep-');
export const isOurChain = (name: string): boolean => name.startsWith('SKEP-');
/** The administrator's chain, ahead of our accepts: made by us, never filled or emptied by us. */
export const adminChain = 'SKEP-USER';

/** iptables' `VALUE/MASK` that matches every mark of ours. */
export const anyMarkOfOurs = `0x${markPrefix.toString(16)}/0xff000000`;
export const isOurMark = (mark: number): boolean => mark >>> 25 === markPrefix >>> 25;
/** `ipvs`: what is added to a VIP's mark for UDP, whose flows leave a task that drains. The top byte is then 0x5f. */
export const udpVipBit = 0x01000000;

/** Where the engine tells containers to ask, whatever addresses they have on overlays. */
export const engineResolver = '127.0.0.11' as Ip;
/**
 * Where names are answered inside a container. Not on port 53 of every address, which a name server in the container may want, and
 * below the ports that programs are given by chance.
 */
export const nameAddress = '127.0.0.94' as Ip;
export const namePort = 94;

/** Of our IPsec policies; strangers' that concern the same packets come later. */
export const espPolicyPriority = 94;
/** Of states that receive. */
export const espReceiveReqid = (markPrefix | 0x800000) >>> 0;
/** Of the states that send with one key in one epoch of this node. */
export const espSendReqid = (sequence: number, epoch: number): number =>
  (markPrefix | ((sequence & 0x7ff) << 12) | (epoch & 0xfff)) >>> 0;
/** The second lock of encrypted overlays, beside the policies: chains of the scope `esp`, which the host's scope leaves alone. */
export const espGuard = { out: 'SKEP-ESP-OUT', in: 'SKEP-ESP-IN' } as const;
export const isEspGuard = (chain: string): boolean => chain === espGuard.out || chain === espGuard.in;
export const isOurReqid = (reqid: number): boolean => isOurMark(reqid);

/** Tables in a container: the way to a VIP past `lo`, and the way back of the mesh. */
export const vipTable = 24099;
export const aliasTable = 24100;
export const ownAliasTable = 24101;
/** Of a container on a network of several subnets: the ways to the others. */
export const subnetTable = 24102;
/** Of connections in a container that came by an alias of this node, and by one of another node's: see sandbox-mesh.ts. */
export const ownAliasMark = (markPrefix | 1) >>> 0;
export const otherAliasMark = (markPrefix | 2) >>> 0;
/** Priorities of rules, see sandbox.ts and ingress.ts. */
export const vipRulePriority = 5;
export const ownAliasRulePriority = 6;
export const aliasRulePriority = 7;
export const localRulePriority = 10;
export const subnetRulePriority = 11;
export const transitRulePriority = 94;

/** The table, in ingress's namespace, of replies that belong to the node with this ingress address. */
export const transitTable = (ingressSubnet: Cidr, nodeAddress: Ip): number =>
  (markPrefix | Number(hostPart(ingressSubnet, nodeAddress))) >>> 0;

/**
 * The MAC of ingress's bridge: the node's own MAC there belongs to {@link hostLinkName}, so the bridge takes it with one
 * more bit set. It never leaves the node but as a source.
 */
export function bridgeMac(ownMac: Mac): Mac {
  const bytes = macToBytes(ownMac);
  bytes[0] = (bytes[0] ?? 0) ^ 0x04;
  return bytesToMac(bytes);
}
