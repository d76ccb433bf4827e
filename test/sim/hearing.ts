/**
 * Which machines' kernels hear each other, as their dataplanes find out: after a second of silence, by chance later, and by accident
 * wrongly. Who is back is heard at once, or that is told late.
 */
import type { Chance } from './chance.js';
import type { Time } from './time.js';

/** As src/dataplane/liveness/verdicts.ts has it. */
const lookMs = 250;
const silentAfterMs = 1_000;

/** A machine, as far as others hear it. */
export interface Audible {
  readonly name: string;
  readonly isPowered: boolean;
  readonly isGone: boolean;
}

interface Verdict {
  /** When it will be found silent, or heard again; undefined: what is said is true. */
  changesMs: number | undefined;
  isSilent: boolean;
}

export class SimHearing {
  readonly #verdicts = new Map<string, Verdict>();
  /** By machine, until when nobody hears it although it is there. */
  readonly #muffledUntilMs = new Map<string, number>();
  readonly #listeners = new Set<() => void>();

  constructor(
    private readonly time: Time,
    private readonly chance: Chance,
    private readonly machines: () => readonly Audible[],
    private readonly linked: (a: string, b: string) => boolean,
  ) {
    const tick = (): void => {
      this.#look();
      time.in(lookMs, tick);
    };
    time.in(lookMs, tick);
  }

  /** Whom the machine does not hear, as its dataplane knows. */
  silentTo(name: string): ReadonlySet<string> {
    const silent = this.machines().filter((peer) => this.#verdicts.get(`${name} ${peer.name}`)?.isSilent);
    return new Set(silent.map((peer) => peer.name));
  }

  /** Nobody hears the machine for so long, and that is all that is wrong with it. */
  muffle(name: string, forMs: number): void {
    this.#muffledUntilMs.set(name, this.time.nowMs + forMs);
  }

  /** Looked at after anybody's verdict has changed. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #look(): void {
    const { nowMs } = this.time;
    let changed = false;
    for (const witness of this.machines())
      for (const peer of this.machines()) {
        if (witness === peer || !witness.isPowered || witness.isGone) continue;
        const key = `${witness.name} ${peer.name}`;
        const verdict = this.#verdicts.get(key) ?? { changesMs: undefined, isSilent: false };
        this.#verdicts.set(key, verdict);
        const isSilent = !this.#isHeard(witness, peer);
        if (isSilent === verdict.isSilent) verdict.changesMs = undefined;
        else if (verdict.changesMs === undefined) verdict.changesMs = nowMs + this.#delayMs(isSilent);
        else if (nowMs >= verdict.changesMs) {
          verdict.isSilent = isSilent;
          verdict.changesMs = undefined;
          changed = true;
        }
      }
    if (changed) for (const listener of [...this.#listeners]) listener();
  }

  #isHeard(witness: Audible, peer: Audible): boolean {
    const isMuffled = this.chance.faults && (this.#muffledUntilMs.get(peer.name) ?? 0) > this.time.nowMs;
    return peer.isPowered && !peer.isGone && !isMuffled && this.linked(witness.name, peer.name);
  }

  #delayMs(isSilent: boolean): number {
    const { chance } = this;
    return (isSilent ? silentAfterMs : 0) + (chance.fault(0.1) ? chance.between(0, 8_000) : 0);
  }
}
