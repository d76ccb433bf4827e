/**
 * Bounds how often the same is written: of an event about one object so many lines in a minute, and what is left out is counted and
 * said by the next line. Memory is bounded, too: of more objects than that the ones written longest ago are forgotten.
 */

/** In which the lines of one object are counted. */
const windowMs = 60_000;
const objectsMax = 4_096;

interface Window {
  readonly beganMs: number;
  lines: number;
  leftOut: number;
}

export class LogThrottle {
  /** By event and object, the ones written longest ago first. */
  readonly #windows = new Map<string, Window>();

  /**
   * Whether the line is to be written, and how many before it were not.
   * @param about event and object
   * @param burst lines in a minute
   * @param nowMs of a clock that is not set
   */
  admit(
    about: string,
    burst: number,
    nowMs: number,
  ): { readonly isWritten: boolean; readonly leftOut: number } {
    const window = this.#windows.get(about);
    if (window === undefined || nowMs - window.beganMs >= windowMs) {
      this.#windows.delete(about);
      this.#windows.set(about, { beganMs: nowMs, lines: 1, leftOut: 0 });
      const [oldest] = this.#windows.keys();
      if (this.#windows.size > objectsMax && oldest !== undefined) this.#windows.delete(oldest);
      return { isWritten: true, leftOut: window?.leftOut ?? 0 };
    }
    if (window.lines >= burst) {
      window.leftOut += 1;
      return { isWritten: false, leftOut: 0 };
    }
    window.lines += 1;
    return { isWritten: true, leftOut: 0 };
  }
}
