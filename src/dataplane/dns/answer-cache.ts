/**
 * Answers as octets, of one asker and one state: a question that was asked before, octet for octet but for its id, gets the octets it
 * got then. Several addresses keep turning: each order of them is kept by itself. Pure.
 */

/** The id, the only part of a question that says nothing of its answer. */
const idBytes = 2;

interface Kept {
  /** Orders that the answer can have, at least one. */
  readonly turns: number;
  readonly answers: Map<number, Buffer>;
  /** Where giving it is counted. */
  readonly slot: number;
}

export class AnswerCache {
  readonly #kept = new Map<string, Kept>();

  /** @param counts of answers that were found, by the slots they were kept with */
  constructor(private readonly counts: Float64Array = new Float64Array(1)) {}

  /** The answer to `message`, good until the next one is asked for; undefined where none was kept. */
  find(message: Buffer, rotation: number): Buffer | undefined {
    const kept = this.#kept.get(keyOf(message));
    const answer = kept?.answers.get(rotation % kept.turns);
    if (kept === undefined || answer === undefined) return undefined;
    message.copy(answer, 0, 0, idBytes);
    this.counts[kept.slot] = (this.counts[kept.slot] ?? 0) + 1;
    return answer;
  }

  /** @param turns how many records it has, which `rotation` turns */
  keep(message: Buffer, rotation: number, turns: number, answer: Buffer, slot = 0): void {
    const key = keyOf(message);
    const kept = this.#kept.get(key) ?? {
      turns: Math.max(turns, 1),
      answers: new Map<number, Buffer>(),
      slot,
    };
    kept.answers.set(rotation % kept.turns, Buffer.from(answer));
    this.#kept.set(key, kept);
  }
}

const keyOf = (message: Buffer): string => message.toString('latin1', idBytes);
