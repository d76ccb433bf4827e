/**
 * The protection of encrypted overlays, in the host's namespace: their VXLAN has a UDP port of its own, and two policies
 * say what becomes of it. What comes in to that port counts only if it came as ESP by a state of ours; what goes out goes
 * as ESP by the states of one key, or not at all. No key, no packet.
 *
 * A rotation breaks nothing: states that receive exist for all keys given, the one after the sending key among them, and
 * states that send exist for that one too; so it is one policy that changes. Each state that sends is made once: whoever
 * lost one (`ip xfrm state flush`, a boot) counts itself an epoch further and makes all of them with other keys. Its
 * peers know the epoch that it last told the managers of, and hear the next one as well.
 *
 * The policies are one lock, which whoever empties the kernel's policies takes away with his own; two rules are another: what
 * goes to that port or comes in for it without ESP is dropped, whoever made it so. As long as one lock is there it is shut.
 *
 * Cost: six receiving and two sending states a peer, two policies, two rules.
 */
import { encryptedPort } from '../../model/encryption.js';
import type { Family, Ip } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { NodeNetworkState } from '../state.js';
import { espKeys, fingerprint } from './esp-keys.js';
import { jump } from './firewall.js';
import { espGuard, espPolicyPriority, espReceiveReqid, espSendReqid } from './names.js';
import type { Chain, EspPolicy, EspState, Jump, KernelObject } from './objects.js';
import { identity } from './objects.js';

/** What this node has sent with. On disk before any of it is in the kernel. */
export interface EspSender {
  /** Part of every key that this node sends with; only grows. */
  readonly epoch: number;
  /** States made in this epoch, by key and VTEP. Whatever is missing of them in the kernel was lost. */
  readonly made: readonly EspDirection[];
}

export interface EspDirection {
  readonly sequence: number;
  readonly destination: Ip;
}

/** Numbers of a state are 32 bits and must not run out within a key's life: from here on the next epoch's takes over. */
export const sentMax = 2 ** 31;

export interface EspPlan {
  readonly objects: readonly KernelObject[];
  /** To be kept before the objects are made. */
  readonly sender: EspSender;
}

/**
 * @param observed states and policies of ours
 * @param retrying what `sender` names may never have been made, for the last try failed
 */
export function planEsp(
  state: NodeNetworkState | null,
  sender: EspSender,
  observed: readonly KernelObject[],
  retrying: boolean,
): EspPlan {
  const peers = state ? peersOf(state) : null;
  if (state === null || peers === null) return { objects: [], sender };
  const common = {
    kind: 'espPolicy',
    port: encryptedPort(state.dataPathPort),
    priority: espPolicyPriority,
  } as const;
  const receive: EspPolicy = {
    ...common,
    direction: 'in',
    source: null,
    destination: state.vtep,
    action: { kind: 'protect', reqid: espReceiveReqid },
  };
  const send = (action: EspPolicy['action']): EspPolicy => ({
    ...common,
    direction: 'out',
    source: state.vtep,
    destination: null,
    action,
  });
  const blocked = send({ kind: 'block' });
  const guard = planGuard(familyOf(state.vtep), common.port);
  const keys = state.encryptionKeys;
  if (keys === null) {
    const standing = observed.find((object) => identity(object) === identity(blocked));
    const states = observed.filter(({ kind }) => kind === 'espState');
    return { objects: [...guard, receive, standing ?? blocked, ...states], sender };
  }

  const objects: KernelObject[] = [...guard, receive];
  for (const { key } of keys)
    for (const [vtep, epoch] of peers)
      for (const heard of epoch === 0 ? [] : [epoch, epoch + 1])
        objects.push({
          kind: 'espState',
          source: vtep,
          destination: state.vtep,
          reqid: espReceiveReqid,
          ...espKeys(key, vtep, state.vtep, heard),
        });

  const sends = keys.find((key) => key.sends);
  if (!sends) return { objects: [...objects, blocked], sender };
  const sendingKeys = new Map(
    keys.flatMap(({ sequence, key }) => (sequence >= sends.sequence ? [[sequence, key] as const] : [])),
  );
  const statesOf = (made: readonly EspDirection[], epoch: number): EspState[] =>
    made.flatMap(({ sequence, destination }): EspState[] => {
      const key = sendingKeys.get(sequence);
      if (!key) return [];
      const reqid = espSendReqid(sequence, epoch);
      const derived = espKeys(key, state.vtep, destination, epoch);
      return [{ kind: 'espState', source: state.vtep, destination, reqid, ...derived }];
    });

  // Those of peers that have left stay as long as their key: made a second time they would cost an epoch.
  const before = sender.made.filter(({ sequence }) => sendingKeys.has(sequence));
  const wanted = [...sendingKeys.keys()].flatMap((sequence) =>
    [...peers.keys()].map((destination): EspDirection => ({ sequence, destination })),
  );
  const made = [...new Map([...before, ...wanted].map((one) => [directionKey(one), one])).values()];
  const isSpent = !retrying && areSpent(statesOf(before, sender.epoch), observed);
  const next: EspSender = isSpent
    ? { epoch: sender.epoch + 1, made: wanted }
    : before.length === sender.made.length && made.length === before.length
      ? sender
      : { epoch: sender.epoch, made };
  const action = { kind: 'protect', reqid: espSendReqid(sends.sequence, next.epoch) } as const;
  return { objects: [...objects, ...statesOf(next.made, next.epoch), send(action)], sender: next };
}

/**
 * In `mangle`, where strangers who accept packets seldom do so: an accept ahead of these would pass them by. Its INPUT sees what
 * came as ESP as the packet that was in it, and knows how it came.
 */
export const planGuard = (family: Family, port: number): (Chain | Jump)[] =>
  (['out', 'in'] as const).flatMap((direction) => [
    {
      kind: 'chain',
      family,
      table: 'mangle',
      name: espGuard[direction],
      rules: [`-p udp -m udp --dport ${port} -m policy --dir ${direction} --pol none -j DROP`],
    },
    jump(family, 'mangle', direction === 'out' ? 'OUTPUT' : 'INPUT', espGuard[direction]),
  ]);

/**
 * What an overlay carries in one packet when it is encrypted, as the kernel reckons it (xfrm_state_mtu): ESP adds its header 8,
 * the nonce 8, padding to a multiple of 4 with 2 octets that describe it, and the check value 16.
 * @param mtuBytes what it would carry in the clear
 */
export const espMtuBytes = (mtuBytes: number): number => ((mtuBytes - 2) & ~3) - 32;

/** All that the plan depends on but what is found in the kernel, in one text that tells nothing of keys. */
export function espInputs(state: NodeNetworkState | null): string {
  const peers = state && peersOf(state);
  if (!peers) return '';
  const { vtep, dataPathPort, encryptionKeys } = state;
  const keys = encryptionKeys?.map(({ sequence, sends, key }) => [sequence, sends, fingerprint(key)]) ?? null;
  return JSON.stringify([vtep, dataPathPort, keys, [...peers]]);
}

/** Epochs of the nodes that share an encrypted overlay with this one, by VTEP; null while there is none. */
function peersOf({ overlays }: NodeNetworkState): Map<Ip, number> | null {
  const encrypted = overlays.filter((overlay) => overlay.encrypted);
  if (encrypted.length === 0) return null;
  return new Map(encrypted.flatMap(({ peers }) => peers.map(({ vtep, espEpoch }) => [vtep, espEpoch])));
}

const directionKey = ({ sequence, destination }: EspDirection): string => `${sequence} ${destination}`;

/** One is missing, or has sent so much that its numbers may run out. */
function areSpent(states: readonly EspState[], observed: readonly KernelObject[]): boolean {
  const found = new Map(observed.map((object) => [identity(object), object]));
  return states.some((state) => {
    const held = found.get(identity(state));
    return held?.kind !== 'espState' || (held.sent ?? 0) >= sentMax;
  });
}
