/**
 * A connection to the engine that is read in gulps. The engine writes its logs line by line: read as it comes, each line costs a wake, a
 * read and a piece of memory. Here what comes after silence is read at once, and the connection is then left alone for a moment in which
 * more gathers in the kernel. The engine is held up no more than by any reader: what the kernel has room for it can write.
 */
import { Agent } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

const gulpBytesMax = 64 * 1024;
/** A unix socket takes some 270 short lines at a time, hence about so many each of these. */
const pauseMs = 1;

class GulpingSocket extends Duplex {
  readonly #socket: Socket;
  /** Set while the connection is left alone. */
  #pause: NodeJS.Timeout | undefined;

  /** There is room for more. */
  #isWanted = true;
  #hasEnded = false;

  constructor(path: string) {
    super({ readableHighWaterMark: gulpBytesMax, allowHalfOpen: false });
    const callback = (size: number, bytes: Uint8Array): boolean =>
      this.#take(Buffer.from(bytes.subarray(0, size)));
    this.#socket = connect({ path, onread: { buffer: Buffer.allocUnsafe(gulpBytesMax), callback } });
    this.#socket.once('end', () => {
      this.#hasEnded = true;
      this.push(null);
    });
    this.#socket.once('error', (err) => this.destroy(err));
    // What came before an end in order is still to be read.
    this.#socket.once('close', () => this.#hasEnded || this.destroy());
  }

  /** @returns whether to read on at once */
  #take(gulp: Buffer): boolean {
    const hasRoom = this.push(gulp);
    if (hasRoom && gulp.length === gulpBytesMax) return true;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#isWanted) this.#socket.resume();
    }, pauseMs);
    this.#isWanted = hasRoom;
    return false;
  }

  override _read(): void {
    this.#isWanted = true;
    if (!this.#pause) this.#socket.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (err?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  override _destroy(err: Error | null, done: (err: Error | null) => void): void {
    clearTimeout(this.#pause);
    this.#socket.destroy();
    done(err);
  }
}

/** Makes HTTP clients read answers from the engine's unix socket in gulps: one connection for each request. */
export class GulpingAgent extends Agent {
  constructor(private readonly path: string) {
    super({ keepAlive: false });
  }

  override createConnection(): Duplex {
    return new GulpingSocket(this.path);
  }
}
