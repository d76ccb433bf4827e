/**
 * What two nodes encrypt with, from a key of the cluster: one key, salt and SPI for each direction and each epoch of its
 * sender (HKDF-SHA-256, RFC 5869). A sender counts its packets from 1 in each state that it makes, and AES-GCM is lost when
 * a key meets one number twice: so a state made anew must never have the key of one before it, hence the epoch.
 * SPIs are 32 bits drawn by chance: two senders of a hundred share one at one receiver about once in 100,000 keys, and the
 * second of them is not heard until the next key.
 */
import { hkdfSync } from 'node:crypto';
import type { Ip } from '../../model/addresses.js';
import { SecretBytes } from '../../model/secret-bytes.js';

export interface EspKeys {
  readonly spi: number;
  /** 16 octets of AES key and the 4 of the nonce's salt (RFC 4106). */
  readonly keyAndSalt: SecretBytes;
}

const spiBytes = 4;
const keyAndSaltBytes = 20;
/** RFC 4303: the SPIs below are reserved. */
const spiMin = 256;

/** By key, and so forgotten with it. */
const derived = new WeakMap<SecretBytes, Map<string, EspKeys>>();

/** The keys of packets from `source` to `destination` (VTEPs) in the sender's epoch. */
export function espKeys(clusterKey: SecretBytes, source: Ip, destination: Ip, epoch: number): EspKeys {
  const known = derived.get(clusterKey) ?? new Map<string, EspKeys>();
  derived.set(clusterKey, known);
  const about = `skep esp v1 ${source} ${destination} ${epoch}`;
  const found = known.get(about);
  if (found) return found;
  const bytes = Buffer.from(
    hkdfSync('sha256', clusterKey.reveal(), Buffer.alloc(0), about, spiBytes + keyAndSaltBytes),
  );
  const drawn = bytes.readUInt32BE(0);
  const keys: EspKeys = {
    spi: drawn < spiMin ? drawn + spiMin : drawn,
    keyAndSalt: new SecretBytes(bytes.subarray(spiBytes)),
  };
  known.set(about, keys);
  return keys;
}

/** Tells keys apart and nothing of them: the SPI of a direction that nobody uses. */
export const fingerprint = (clusterKey: SecretBytes): number =>
  espKeys(clusterKey, '0.0.0.0' as Ip, '0.0.0.0' as Ip, 0).spi;
