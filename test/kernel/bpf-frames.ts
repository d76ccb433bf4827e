/**
 * Frames as octets, made from a line of data and read back into one. Reading verifies every checksum: TCP's, UDP's, ICMP's and
 * IP's by summing, SCTP's by a CRC32c over the whole packet. So what a program rewrote is compared with no arithmetic of its own.
 */

const etherTypeIpv4 = 0x0800;
const protocols = { icmp: 1, tcp: 6, udp: 17, sctp: 132 } as const;
export type Transport = 'tcp' | 'udp' | 'sctp';
const flagBits = { F: 1, S: 2, R: 4, P: 8, A: 16 } as const;
/** First chunks of SCTP by name (RFC 9260, section 3.2). */
const chunks = {
  data: 0,
  init: 1,
  initAck: 2,
  abort: 6,
  shutdown: 7,
  cookieEcho: 10,
  shutdownComplete: 14,
} as const;

export interface FrameOptions {
  /** `address:port` */
  readonly from: string;
  readonly to: string;
  /** TCP: letters of FSRPA. */
  readonly flags?: string;
  /** TCP's numbers, 0 unless given. */
  readonly sequence?: number;
  readonly acknowledged?: number;
  readonly chunk?: keyof typeof chunks;
  readonly payloadBytes?: number;
  readonly unfragmentable?: boolean;
  readonly id?: number;
  /** Octets of IP options, a multiple of four. */
  readonly optionBytes?: number;
  /** False: UDP without a checksum, SCTP with one left to the device. */
  readonly checksum?: boolean;
  readonly macs?: { readonly from?: string; readonly to?: string };
  readonly vlan?: number;
}

/** A whole packet in its frame. The destination MAC is zero unless given, as lo's is, on which tests run. */
export function frame(transport: Transport, options: FrameOptions): Buffer {
  return ethernet(options, ip(options, protocols[transport], segment(transport, options)));
}

/** The same packet in fragments of at most `bytes` of IP payload (a multiple of eight). */
export function fragments(transport: Transport, options: FrameOptions, bytes: number): Buffer[] {
  const whole = segment(transport, options);
  return Array.from({ length: Math.ceil(whole.length / bytes) }, (_, i) =>
    ethernet(
      options,
      ip(
        { id: 77, ...options },
        protocols[transport],
        whole.subarray(i * bytes, (i + 1) * bytes),
        ((i + 1) * bytes < whole.length ? 0x2000 : 0) | ((i * bytes) / 8),
      ),
    ),
  );
}

/** An ICMP message about a packet, quoting its IP header and eight octets more. */
export function icmpError(
  { from, to, type = 3, code = 3 }: { from: string; to: string; type?: number; code?: number },
  about: Buffer,
): Buffer {
  const quoted = about.subarray(14, 14 + 4 * ((about[14] ?? 0) & 15) + 8);
  const message = Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, 0, 0]), quoted]);
  message.writeUInt16BE(checksum(message), 2);
  const options = { from: `${from}:0`, to: `${to}:0` };
  return ethernet({}, ip(options, protocols.icmp, message));
}

function segment(transport: Transport, options: FrameOptions): Buffer {
  const { from, to, payloadBytes = 4, checksum: summed = true } = options;
  const payload = Buffer.from(Array.from({ length: payloadBytes }, (_, i) => (i * 7 + 1) & 255));
  const header = Buffer.alloc({ tcp: 20, udp: 8, sctp: 12 + 4 }[transport]);
  header.writeUInt16BE(endpoint(from).port, 0);
  header.writeUInt16BE(endpoint(to).port, 2);
  const all = Buffer.concat([header, payload]);
  switch (transport) {
    case 'tcp':
      all.writeUInt32BE(options.sequence ?? 0, 4);
      all.writeUInt32BE(options.acknowledged ?? 0, 8);
      all[12] = 0x50;
      all[13] = [...(options.flags ?? 'A')].reduce(
        (bits, letter) => bits | flagBits[letter as keyof typeof flagBits],
        0,
      );
      all.writeUInt16BE(transportChecksum(options, protocols.tcp, all), 16);
      break;
    case 'udp':
      all.writeUInt16BE(all.length, 4);
      if (summed) all.writeUInt16BE(transportChecksum(options, protocols.udp, all) || 0xffff, 6);
      break;
    case 'sctp':
      all.writeUInt32BE(0xabcdef01, 4);
      all[12] = chunks[options.chunk ?? 'data'];
      all.writeUInt16BE(4 + payloadBytes, 14);
      if (summed) all.writeUInt32LE(crc32c(all), 8);
      break;
  }
  return all;
}

function ip(options: FrameOptions, protocol: number, payload: Buffer, fragment = 0): Buffer {
  const { optionBytes = 0, id = 1, unfragmentable = false } = options;
  const header = Buffer.alloc(20 + optionBytes, 1); // options: no-operations
  header.fill(0, 0, 20);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(id, 4);
  header.writeUInt16BE(fragment | (unfragmentable ? 0x4000 : 0), 6);
  header[8] = 64;
  header[9] = protocol;
  ipOctets(endpoint(options.from).address).copy(header, 12);
  ipOctets(endpoint(options.to).address).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function ethernet({ macs = {}, vlan }: Pick<FrameOptions, 'macs' | 'vlan'>, packet: Buffer): Buffer {
  const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  const type = Buffer.alloc(2);
  type.writeUInt16BE(etherTypeIpv4);
  return Buffer.concat([
    mac(macs.to ?? '00:00:00:00:00:00'),
    mac(macs.from ?? '02:00:00:00:00:99'),
    vlan === undefined ? Buffer.alloc(0) : Buffer.from([0x81, 0x00, vlan >> 8, vlan & 255]),
    type,
    packet,
  ]);
}

const ipOctets = (address: string): Buffer => Buffer.from(address.split('.').map(Number));

function endpoint(text: string): { address: string; port: number } {
  const [address = '', port = '0'] = text.split(':');
  return { address, port: Number(port) };
}

/** Of a TCP frame without IP options: its sequence number and what it acknowledges. */
export const tcpNumbers = (octets: Buffer): { readonly sequence: number; readonly acknowledged: number } => ({
  sequence: octets.readUInt32BE(38),
  acknowledged: octets.readUInt32BE(42),
});

/** A frame as one line: addresses, ports, flags; what it quotes; and what is wrong with its checksums. */
export function readFrame(octets: Buffer): string {
  return readIp(octets.subarray(14), true);
}

/** The packet that fragments, in order, are parts of. */
export function reassemble(parts: readonly Buffer[]): Buffer {
  const headerBytes = 4 * ((parts[0]?.[14] ?? 0) & 15);
  const header = Buffer.from(parts[0]?.subarray(0, 14 + headerBytes) ?? []);
  const payload = Buffer.concat(parts.map((part) => part.subarray(14 + headerBytes)));
  header.writeUInt16BE(headerBytes + payload.length, 16);
  header.writeUInt16BE(0, 20);
  header.writeUInt16BE(0, 24);
  header.writeUInt16BE(checksum(header.subarray(14)), 24);
  return Buffer.concat([header, payload]);
}

/** Where a frame goes, and where it says it comes from. */
export const macsOf = (octets: Buffer): string =>
  [octets.subarray(0, 6), octets.subarray(6, 12)]
    .map((mac) => mac.toString('hex').replace(/(..)(?!$)/g, '$1:'))
    .join(' < ');

function readIp(packet: Buffer, whole: boolean): string {
  const headerBytes = 4 * ((packet[0] ?? 0) & 15);
  const header = packet.subarray(0, headerBytes);
  const payload = packet.subarray(headerBytes, whole ? packet.readUInt16BE(2) : undefined);
  const address = (at: number): string => [...packet.subarray(at, at + 4)].join('.');
  const fragment = packet.readUInt16BE(6);
  const offset = (fragment & 0x1fff) * 8;
  const protocol = packet[9] ?? 0;
  const wrong = checksum(header) === 0 ? '' : ' BAD IP CHECKSUM';
  const name = Object.entries(protocols).find(([, number]) => number === protocol)?.[0] ?? String(protocol);
  if (offset > 0) return `${name} ${address(12)} > ${address(16)} +${offset}${wrong}`;
  if (protocol === protocols.icmp) {
    const mtu = payload[0] === 3 && payload[1] === 4 ? ` mtu ${payload.readUInt16BE(6)}` : '';
    const bad = checksum(payload) === 0 ? '' : ' BAD ICMP CHECKSUM';
    return `icmp ${address(12)} > ${address(16)} ${payload[0]}/${payload[1]}${mtu}${wrong}${bad} (${readIp(payload.subarray(8), false)})`;
  }
  const ports = `${name} ${address(12)}:${payload.readUInt16BE(0)} > ${address(16)}:${payload.readUInt16BE(2)}`;
  const cut = !whole || fragment & 0x2000;
  const flags = protocol === protocols.tcp && payload.length > 13 ? ` ${readFlags(payload[13] ?? 0)}` : '';
  return `${ports}${flags}${fragment & 0x2000 ? ' +0' : ''}${wrong}${cut ? '' : readTransport(packet, protocol, payload)}`;
}

const readFlags = (bits: number): string =>
  Object.entries(flagBits)
    .flatMap(([letter, bit]) => (bits & bit ? [letter] : []))
    .join('');

function readTransport(packet: Buffer, protocol: number, payload: Buffer): string {
  if (protocol === protocols.sctp) {
    const sum = payload.readUInt32LE(8);
    if (sum === 0) return ' no checksum';
    const zeroed = Buffer.from(payload);
    zeroed.writeUInt32LE(0, 8);
    return sum === crc32c(zeroed) ? '' : ' BAD CRC32C';
  }
  if (protocol === protocols.udp && payload.readUInt16BE(6) === 0) return ' no checksum';
  const pseudo = Buffer.concat([
    packet.subarray(12, 20),
    Buffer.from([0, protocol, payload.length >> 8, payload.length & 255]),
  ]);
  return checksum(Buffer.concat([pseudo, payload])) === 0 ? '' : ' BAD CHECKSUM';
}

function transportChecksum({ from, to }: FrameOptions, protocol: number, payload: Buffer): number {
  const pseudo = Buffer.from([0, protocol, payload.length >> 8, payload.length & 255]);
  return checksum(
    Buffer.concat([ipOctets(endpoint(from).address), ipOctets(endpoint(to).address), pseudo, payload]),
  );
}

/** RFC 1071; 0 for octets that hold their own right checksum. */
export function checksum(octets: Buffer): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += ((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Castagnoli's, bit by bit. */
export function crc32c(octets: Buffer): number {
  let crc = 0xffffffff;
  for (const octet of octets) {
    crc ^= octet;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1));
  }
  return ~crc >>> 0;
}
