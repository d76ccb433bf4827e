/**
 * The rules of iptables-legacy in one namespace, of one family: nothing tells of their changes, so they are asked after many times a
 * minute. What asks lies open, for a thread in the namespace and a socket for each question cost more than the question.
 */
import { closeSync } from 'node:fs';
import type { Family } from '../../model/addresses.js';
import { native } from '../../runtime/native.js';

export class LegacyRules implements Disposable {
  readonly #names: number;
  readonly #socket: number;

  /** Keeps the namespace there until it is disposed of. Throws Error with `code` when it cannot be entered. */
  constructor(
    netns: string | null,
    private readonly family: Family,
  ) {
    [this.#names, this.#socket] = native().openFirewall(netns, family);
  }

  /** False where the kernel has nothing of iptables-legacy: it may have it later. */
  get isThere(): boolean {
    return this.#names >= 0;
  }

  /**
   * Differs after a change. Throws Error with `code`.
   * @param whole all rules are read; else only how many there are, and their sizes
   */
  digest(whole: boolean): string {
    return this.isThere
      ? String(native().firewallDigest(this.#names, this.#socket, this.family, whole))
      : 'none';
  }

  [Symbol.dispose](): void {
    for (const fd of [this.#names, this.#socket]) if (fd >= 0) closeSync(fd);
  }
}
