/**
 * What to do so that this node's attachments are what its containers hold. Pure. A container and an attachment belong
 * together by network and address: the engine keeps a container's address over restarts of everything.
 */
import { familyOf, isIp } from '../../model/addresses.js';

/** An attachment as this node knows it. */
export interface KnownAttachment {
  readonly id: string;
  readonly networkId: string;
  readonly address: string;
  readonly containerId: string;
  readonly containerName: string;
  readonly aliases: readonly string[];
  readonly nameservers: readonly string[];
}

/** A container on one of the swarm's networks, as the engine has it, whether its process runs or not. */
export interface ConnectedLeg {
  readonly containerId: string;
  readonly containerName: string;
  readonly networkId: string;
  readonly address: string;
  /** As the container was given them; undefined: not known, then those of the attachment stay. */
  readonly aliases?: readonly string[];
  readonly nameservers: readonly string[];
}

export type AttachmentStep =
  /** Its container is gone, or no longer connected. */
  | { readonly step: 'detach'; readonly id: string }
  /** The container was made, renamed, or connected to other networks of the engine's. */
  | { readonly step: 'describe'; readonly known: KnownAttachment; readonly leg: ConnectedLeg }
  /** A container that is connected and has no attachment (any more). */
  | { readonly step: 'attach'; readonly leg: ConnectedLeg };

/** @param reserved attachments whose containers are being made at this moment: nothing is known of those */
export function planAttachments(
  known: readonly KnownAttachment[],
  legs: readonly ConnectedLeg[],
  reserved: ReadonlySet<string>,
): AttachmentStep[] {
  const unclaimed = new Set(legs);
  const steps: AttachmentStep[] = [];
  for (const attachment of known) {
    const candidates = [...unclaimed].filter(
      (leg) => leg.networkId === attachment.networkId && leg.address === attachment.address,
    );
    const own = candidates.find((leg) => leg.containerId === attachment.containerId) ?? candidates[0];
    if (own) {
      unclaimed.delete(own);
      if (!isDescribed(attachment, own)) steps.push({ step: 'describe', known: attachment, leg: own });
    } else if (!reserved.has(attachment.id)) steps.push({ step: 'detach', id: attachment.id });
  }
  // Addresses are given back before others are asked for: a container may have changed its own.
  return [...steps, ...[...unclaimed].map((leg): AttachmentStep => ({ step: 'attach', leg }))];
}

const isDescribed = (known: KnownAttachment, leg: ConnectedLeg): boolean =>
  known.containerId === leg.containerId &&
  known.containerName === leg.containerName &&
  known.nameservers.join() === leg.nameservers.join();

/** What the engine falls back to for a container when the host has none but itself. */
const fallbackNameservers = ['8.8.8.8', '8.8.4.4'];
const nameserversMax = 16;

/**
 * The servers that the engine's resolver asks for a container.
 * @param given servers that the container was created with; none: it has the host's
 * @param host the host's nameservers
 */
export function nameserversAsked(given: readonly string[], host: readonly string[]): string[] {
  const beyond = host.filter((address) => !isLoopback(address));
  const asked = given.length > 0 ? given : beyond.length > 0 ? beyond : fallbackNameservers;
  return [...new Set(asked)]
    .filter((address) => isIp(address) && familyOf(address) === 4 && !isLoopback(address))
    .slice(0, nameserversMax);
}

const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1';

/** The nameservers in a resolv.conf(5). */
export const parseNameservers = (text: string): string[] =>
  text.split('\n').flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
