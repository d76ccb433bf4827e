/** All that a run leaves to chance, from one seed. */
import assert from 'node:assert';
import type { RandomSource } from '../../src/model/ids.js';
import { seededNumbers } from '../support/cluster-objects.js';

export class Chance {
  readonly next: () => number;
  /** While false, nothing fails that could also succeed, and nothing takes long. */
  faults = true;

  constructor(readonly seed: number) {
    this.next = seededNumbers(seed);
  }

  /** True in such a share of cases. */
  readonly is = (share: number): boolean => this.next() < share;

  /** A fault, in such a share of cases while there are any. */
  readonly fault = (share: number): boolean => this.faults && this.next() < share;

  readonly int = (below: number): number => Math.floor(this.next() * below);

  readonly between = (from: number, to: number): number => from + this.next() * (to - from);

  pick<T>(items: readonly T[]): T {
    const item = items[this.int(items.length)];
    assert(item !== undefined, 'nothing to pick from');
    return item;
  }

  /** How long a message or a call takes, in ms: mostly little. */
  readonly latencyMs = (): number =>
    this.fault(0.02) ? this.between(50, 1_500) : this.fault(0.2) ? this.between(5, 50) : this.between(0.2, 5);

  readonly bytes: RandomSource = (size) => Uint8Array.from({ length: size }, () => this.int(256));
}
