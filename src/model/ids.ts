/** Identifiers, branded so that they cannot be swapped. */
export type ClusterId = string & { readonly __brand: 'ClusterId' };
export type NodeId = string & { readonly __brand: 'NodeId' };
export type ServiceId = string & { readonly __brand: 'ServiceId' };
export type TaskId = string & { readonly __brand: 'TaskId' };
export type NetworkId = string & { readonly __brand: 'NetworkId' };
export type SecretId = string & { readonly __brand: 'SecretId' };
export type ConfigId = string & { readonly __brand: 'ConfigId' };
export type SessionId = string & { readonly __brand: 'SessionId' };
/** There is one leader: see {@link leaderId}. */
export type LeaderId = string & { readonly __brand: 'LeaderId' };
export const leaderId = 'leader' as LeaderId;
/** VXLAN network identifier, 24 bits. */
export type Vni = number & { readonly __brand: 'Vni' };

/** Gives `size` random bytes; the daemon passes `node:crypto`'s randomBytes, the simulation a seeded one. */
export type RandomSource = (size: number) => Uint8Array;

const idLength = 25;
const idBytes = 17;

/** Big-endian bytes as lower-case base 36. */
export function base36(bytes: Uint8Array): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value.toString(36);
}

/**
 * A new identifier as Swarm makes them: 17 random bytes with the top bits forced so that the base-36 rendering
 * has a fixed length, of which characters 2 to 26 are kept (25 of `[0-9a-z]`, about 128 bits).
 */
export function newId<Id extends string>(random: RandomSource): Id {
  const bytes = Uint8Array.from(random(idBytes));
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return base36(bytes).slice(1, 1 + idLength) as Id;
}

/** True for the 25 characters that {@link newId} makes. */
export const isId = (text: string): boolean => /^[0-9a-z]{25}$/.test(text);
