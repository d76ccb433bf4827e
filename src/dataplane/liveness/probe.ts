/**
 * What peers are asked: who has the address that the peer has on an overlay, as an ARP request in a frame to its MAC alone. Pure codec.
 *
 * ARP and not an ICMP echo, because on ingress the address is the host's, whose firewall and sysctls may swallow echoes but not this
 * (packet filters of IP do not see it). The sender's address is 0.0.0.0 (RFC 5227's probe): the peer then learns nothing of it and needs
 * no route back, and neither side's bridge answers by itself in the peer's place, as it does for containers (neigh_suppress).
 */
import type { Ip, Mac } from '../../model/addresses.js';
import { bytesToMac, ipToNumber, macToBytes, numberToIp } from '../../model/addresses.js';
import { classicBpf } from '../classic-bpf.js';

/** linux/if_ether.h */
export const etherTypeArp = 0x0806;
const hardwareEthernet = 1;
const protocolIpv4 = 0x0800;
const request = 1;
const reply = 2;
/** Of both headers; from the start of the frame. */
const frameBytes = 42;
const operationOffset = 20;
const senderMacOffset = 22;
const senderAddressOffset = 28;
const targetAddressOffset = 38;

/** Of a frame of ARP: replies. */
export const replyFilter: Buffer = classicBpf([
  [0x28, 0, 0, operationOffset], // a = operation
  [0x15, 0, 1, reply], // a == reply ? next : the one after
  [0x06, 0, 0, 0xffff], // take it
  [0x06, 0, 0, 0], // leave it
]);

export interface Station {
  readonly address: Ip;
  readonly mac: Mac;
}

/** The question of the node with the MAC `from`. */
export function probeFrame(from: Mac, to: Station): Buffer {
  const frame = Buffer.alloc(frameBytes);
  const own = macToBytes(from);
  frame.set(macToBytes(to.mac), 0);
  frame.set(own, 6);
  frame.writeUInt16BE(etherTypeArp, 12);
  frame.writeUInt16BE(hardwareEthernet, 14);
  frame.writeUInt16BE(protocolIpv4, 16);
  frame.writeUInt8(6, 18);
  frame.writeUInt8(4, 19);
  frame.writeUInt16BE(request, operationOffset);
  frame.set(own, senderMacOffset);
  frame.writeUInt32BE(Number(ipToNumber(to.address)), targetAddressOffset);
  return frame;
}

/** Who says in a frame that the address is its own; null for what is no whole ARP reply. */
export function parseAnswer(frame: Buffer): Station | null {
  if (frame.length < frameBytes || frame.readUInt16BE(12) !== etherTypeArp) return null;
  if (frame.readUInt16BE(operationOffset) !== reply) return null;
  return {
    address: numberToIp(BigInt(frame.readUInt32BE(senderAddressOffset)), 4),
    mac: bytesToMac(frame.subarray(senderMacOffset, senderMacOffset + 6)),
  };
}
