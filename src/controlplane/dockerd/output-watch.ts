/**
 * Watches a container's output go by, to say in its own form why it ends should the node be lost: as a frame of the
 * daemon's own where there are frames, else as a line. Between frames only: within one the words would be taken for output.
 */
const headerBytes = 8;
/** stdcopy's stream for what the daemon itself has to say. */
const systemError = 3;

export class OutputWatch {
  /** Of a frame's header, as far as it has come. */
  #header: Buffer = Buffer.alloc(0);
  /** Bytes of the present frame that are still to come. */
  #missing = 0;
  #isFramed: boolean | undefined;

  /** @param reason one sentence without full stop; it becomes the last words */
  constructor(private readonly reason: string) {}

  /** Takes what was passed on, in order. */
  see(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#isFramed !== false;) {
      if (this.#missing > 0) {
        const taken = Math.min(this.#missing, chunk.length - at);
        this.#missing -= taken;
        at += taken;
        continue;
      }
      const taken = chunk.subarray(at, at + headerBytes - this.#header.length);
      this.#header = Buffer.concat([this.#header, taken]);
      at += taken.length;
      if (!isHeaderSoFar(this.#header)) this.#isFramed = false;
      else if (this.#header.length === headerBytes) {
        this.#isFramed = true;
        this.#missing = this.#header.readUInt32BE(4);
        this.#header = Buffer.alloc(0);
      }
    }
  }

  /** What may still be written after all that was seen; undefined where nothing can be said. */
  lastWords(): Buffer | undefined {
    if (this.#isFramed === false) return Buffer.from(`\r\n${this.reason}\r\n`);
    if (this.#missing > 0 || this.#header.length > 0) return undefined;
    const text = Buffer.from(this.reason);
    const header = Buffer.alloc(headerBytes);
    header[0] = systemError;
    header.writeUInt32BE(text.length, 4);
    return Buffer.concat([header, text]);
  }
}

/** Terminals do not begin with such bytes: stream, three zeros, length. */
const isHeaderSoFar = (header: Buffer): boolean =>
  header[0]! <= systemError && header.subarray(1, 4).every((byte) => byte === 0);
