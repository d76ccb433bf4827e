/**
 * IPsec of one namespace: ESP states in transport mode with AES-GCM (struct xfrm_usersa_info) and policies on one UDP port
 * (struct xfrm_userpolicy_info). Keys are written and never read: what the kernel dumps of them is passed over.
 */
import type { Ip } from '../../model/addresses.js';
import { addressBits, familyOf } from '../../model/addresses.js';
import type { SecretBytes } from '../../model/secret-bytes.js';
import { Attributes, AttributeWriter, bytesToIp, ipToBytes } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import { NetlinkSocket, subscribe } from './socket.js';

/** Of the structs, padding included; and where a struct within them begins. */
const selectorBytes = 56;
const stateBytes = 224;
const stateIdAt = 56;
const stateSourceAt = 80;
const stateLimitsAt = 96;
const policyBytes = 168;
const policyLimitsAt = 56;
const templateBytes = 64;
const stateKeyBytes = 24;
const policyKeyBytes = 64;
/** struct xfrm_replay_state_esn before its bitmap, and the last number sent in it. */
const replayBytes = 24;
const replaySentAt = 4;

const aead = 'rfc4106(gcm(aes))';
const integrityBits = 128;
/** Packets that may arrive late and still count once; a multiple of 32. */
const replayWindow = 1024;

export interface EspState {
  readonly source: Ip;
  readonly destination: Ip;
  /** Security parameters index: what the receiver finds the state by. */
  readonly spi: number;
  /** What a policy's template asks for. */
  readonly reqid: number;
  /** Packets sent by it. */
  readonly sent: number;
}

export interface NewEspState extends Omit<EspState, 'sent'> {
  /** 16 octets of AES key and the 4 of the nonce's salt. */
  readonly keyAndSalt: SecretBytes;
}

/** Which packets a policy is about: UDP to one port. */
export interface EspPolicyKey {
  readonly direction: 'in' | 'out';
  /** Null: any. */
  readonly source: Ip | null;
  readonly destination: Ip | null;
  readonly port: number;
}

export interface EspPolicy extends EspPolicyKey {
  /** The lowest number is asked first. */
  readonly priority: number;
  /** `protect` wants ESP by a state of this reqid; `block` lets nothing pass. */
  readonly action: { readonly kind: 'protect'; readonly reqid: number } | { readonly kind: 'block' };
}

/** Opened in a namespace, closed by Symbol.dispose. Methods reject with NetlinkError. */
export class Xfrm implements Disposable {
  readonly #socket: NetlinkSocket;

  /** @param netns path of the namespace, or null for this process's own; throws Error with `code` EPROTONOSUPPORT without XFRM */
  constructor(netns: string | null) {
    this.#socket = new NetlinkSocket(netns, c.NETLINK_XFRM);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** ESP states in transport mode, whosesoever. */
  async states(): Promise<EspState[]> {
    const messages = await this.#socket.dump({ type: c.XFRM_MSG_GETSA, flags: 0, payload: Buffer.alloc(0) });
    return messages.map(parseEspState).filter((state) => state !== null);
  }

  /** EEXIST when the receiver has a state of that SPI; EPROTONOSUPPORT, ENOENT or ENOSYS when the kernel has no ESP or no AES-GCM. */
  async addState(state: NewEspState): Promise<void> {
    await this.#socket.request(formatEspState(state));
  }

  /** ESRCH when there is none. */
  async removeState({ destination, spi }: Pick<EspState, 'destination' | 'spi'>): Promise<void> {
    const payload = Buffer.alloc(stateKeyBytes);
    payload.set(ipToBytes(destination), 0);
    payload.writeUInt32BE(spi, 16);
    payload.writeUInt16LE(familyNumber(familyOf(destination)), 20);
    payload.writeUInt8(c.IPPROTO_ESP, 22);
    await this.#socket.request({ type: c.XFRM_MSG_DELSA, flags: 0, payload });
  }

  /** Policies of the shape of {@link EspPolicy}, whosesoever. */
  async policies(): Promise<EspPolicy[]> {
    const messages = await this.#socket.dump({
      type: c.XFRM_MSG_GETPOLICY,
      flags: 0,
      payload: Buffer.alloc(0),
    });
    return messages.map(parseEspPolicy).filter((policy) => policy !== null);
  }

  /** EEXIST when those packets have a policy already. */
  async addPolicy(policy: EspPolicy): Promise<void> {
    await this.#socket.request(formatEspPolicy(policy, c.XFRM_MSG_NEWPOLICY));
  }

  /** Replaces the policy of those packets in one step. */
  async replacePolicy(policy: EspPolicy): Promise<void> {
    await this.#socket.request(formatEspPolicy(policy, c.XFRM_MSG_UPDPOLICY));
  }

  /** ENOENT when there is none. */
  async removePolicy(key: EspPolicyKey): Promise<void> {
    const payload = Buffer.alloc(policyKeyBytes);
    payload.set(formatSelector(key), 0);
    payload.writeUInt8(directionNumber(key.direction), selectorBytes + 4);
    await this.#socket.request({ type: c.XFRM_MSG_DELPOLICY, flags: 0, payload });
  }
}

/**
 * Calls `listener` whenever a state or a policy of the namespace was made, changed or removed, or such news was lost.
 * @throws Error with `code` when the socket cannot be opened
 */
export const subscribeXfrm = (netns: string | null, listener: () => void): Disposable =>
  subscribe(netns, c.NETLINK_XFRM, [c.XFRMNLGRP_SA, c.XFRMNLGRP_POLICY], listener);

export function formatEspState({ source, destination, spi, reqid, keyAndSalt }: NewEspState): NetlinkRequest {
  const fixed = Buffer.alloc(stateBytes);
  fixed.set(ipToBytes(destination), stateIdAt);
  fixed.writeUInt32BE(spi, stateIdAt + 16);
  fixed.writeUInt8(c.IPPROTO_ESP, stateIdAt + 20);
  fixed.set(ipToBytes(source), stateSourceAt);
  writeNoLimits(fixed, stateLimitsAt);
  fixed.writeUInt32LE(reqid, 208);
  fixed.writeUInt16LE(familyNumber(familyOf(destination)), 212);
  fixed.writeUInt8(c.XFRM_MODE_TRANSPORT, 214);

  const key = keyAndSalt.reveal();
  const algorithm = Buffer.alloc(72 + key.length);
  algorithm.write(aead, 0, 'latin1');
  algorithm.writeUInt32LE(key.length * 8, 64);
  algorithm.writeUInt32LE(integrityBits, 68);
  algorithm.set(key, 72);
  // Given this way for the wide window; the flag for 64-bit numbers is not set.
  const replay = Buffer.alloc(replayBytes + replayWindow / 8);
  replay.writeUInt32LE(replayWindow / 32, 0);
  replay.writeUInt32LE(replayWindow, 20);
  const attributes = new AttributeWriter()
    .bytes(c.XFRMA_ALG_AEAD, algorithm)
    .bytes(c.XFRMA_REPLAY_ESN_VAL, replay);
  return {
    type: c.XFRM_MSG_NEWSA,
    flags: c.NLM_F_CREATE | c.NLM_F_EXCL,
    payload: Buffer.concat([fixed, attributes.toBuffer()]),
  };
}

/** Null for another protocol or mode. */
export function parseEspState({ payload }: NetlinkMessage): EspState | null {
  const family = familyFromNumber(payload.readUInt16LE(212));
  const isEsp = payload.readUInt8(stateIdAt + 20) === c.IPPROTO_ESP;
  if (family === null || !isEsp || payload.readUInt8(214) !== c.XFRM_MODE_TRANSPORT) return null;
  const octets = addressBits(family) / 8;
  const replay = new Attributes(payload.subarray(stateBytes)).bytes(c.XFRMA_REPLAY_ESN_VAL);
  return {
    source: bytesToIp(payload.subarray(stateSourceAt, stateSourceAt + octets)),
    destination: bytesToIp(payload.subarray(stateIdAt, stateIdAt + octets)),
    spi: payload.readUInt32BE(stateIdAt + 16),
    reqid: payload.readUInt32LE(208),
    sent: replay?.readUInt32LE(replaySentAt) ?? 0,
  };
}

export function formatEspPolicy(policy: EspPolicy, type: number): NetlinkRequest {
  const fixed = Buffer.alloc(policyBytes);
  fixed.set(formatSelector(policy), 0);
  writeNoLimits(fixed, policyLimitsAt);
  fixed.writeUInt32LE(policy.priority, 152);
  fixed.writeUInt8(directionNumber(policy.direction), 160);
  const { action } = policy;
  fixed.writeUInt8(action.kind === 'block' ? c.XFRM_POLICY_BLOCK : c.XFRM_POLICY_ALLOW, 161);
  const attributes = new AttributeWriter();
  if (action.kind === 'protect') {
    const template = Buffer.alloc(templateBytes);
    template.writeUInt8(c.IPPROTO_ESP, 20);
    template.writeUInt16LE(familyNumber(selectorFamily(policy)), 24);
    template.writeUInt32LE(action.reqid, 44);
    template.writeUInt8(c.XFRM_MODE_TRANSPORT, 48);
    for (const anyAlgorithm of [52, 56, 60]) template.writeUInt32LE(0xffffffff, anyAlgorithm);
    attributes.bytes(c.XFRMA_TMPL, template);
  }
  return { type, flags: 0, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}

/** Null for what is not about UDP to one port, or asks for something else than ESP in transport mode. */
export function parseEspPolicy({ payload }: NetlinkMessage): EspPolicy | null {
  const family = familyFromNumber(payload.readUInt16LE(40));
  const direction = (['in', 'out'] as const).find((one) => directionNumber(one) === payload.readUInt8(160));
  const onePort = payload.readUInt16BE(34) === 0xffff && payload.readUInt16BE(38) === 0;
  if (family === null || direction === undefined || !onePort) return null;
  if (payload.readUInt8(44) !== c.IPPROTO_UDP) return null;
  const octets = addressBits(family) / 8;
  const address = (at: number, prefixLength: number): Ip | null | undefined => {
    if (prefixLength === 0) return null;
    return prefixLength === addressBits(family) ? bytesToIp(payload.subarray(at, at + octets)) : undefined;
  };
  const [source, destination] = [address(16, payload.readUInt8(43)), address(0, payload.readUInt8(42))];
  const action = parseAction(payload);
  if (source === undefined || destination === undefined || action === null) return null;
  const port = payload.readUInt16BE(32);
  return { direction, source, destination, port, priority: payload.readUInt32LE(152), action };
}

function parseAction(payload: Buffer): EspPolicy['action'] | null {
  if (payload.readUInt8(161) === c.XFRM_POLICY_BLOCK) return { kind: 'block' };
  const template = new Attributes(payload.subarray(policyBytes)).bytes(c.XFRMA_TMPL);
  if (template?.length !== templateBytes) return null;
  const [proto, mode, optional] = [20, 48, 50].map((at) => template.readUInt8(at));
  if (proto !== c.IPPROTO_ESP || mode !== c.XFRM_MODE_TRANSPORT || optional !== 0) return null;
  return { kind: 'protect', reqid: template.readUInt32LE(44) };
}

/** struct xfrm_selector. */
function formatSelector(key: EspPolicyKey): Buffer {
  const buffer = Buffer.alloc(selectorBytes);
  const bits = addressBits(selectorFamily(key));
  if (key.destination !== null) {
    buffer.set(ipToBytes(key.destination), 0);
    buffer.writeUInt8(bits, 42);
  }
  if (key.source !== null) {
    buffer.set(ipToBytes(key.source), 16);
    buffer.writeUInt8(bits, 43);
  }
  buffer.writeUInt16BE(key.port, 32);
  buffer.writeUInt16BE(0xffff, 34);
  buffer.writeUInt16LE(familyNumber(selectorFamily(key)), 40);
  buffer.writeUInt8(c.IPPROTO_UDP, 44);
  return buffer;
}

const selectorFamily = ({ source, destination }: EspPolicyKey): 4 | 6 => {
  const known = source ?? destination;
  return known === null ? 4 : familyOf(known);
};

/** struct xfrm_lifetime_cfg: XFRM_INF for its four limits of octets and packets, no expiry by time. */
function writeNoLimits(buffer: Buffer, at: number): void {
  buffer.fill(0xff, at, at + 32);
}

const directionNumber = (direction: EspPolicyKey['direction']): number =>
  direction === 'in' ? c.XFRM_POLICY_IN : c.XFRM_POLICY_OUT;
