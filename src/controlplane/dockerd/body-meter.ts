/**
 * Tells which of the bytes behind a request's head are its body, where nobody else parses them. Never says so of more than
 * the receiver will take for the body: what is written in a way that could be read in two ways ends it here.
 */
import type { IncomingHttpHeaders } from 'node:http';

type Expects = 'size' | 'data' | 'end of data' | 'end of body' | 'nothing';

const crlf = '\r\n';
/** A size of at most eight digits, and its end. */
const sizeLineBytesMax = 10;

export class BodyMeter {
  readonly #isChunked: boolean;
  #expects: Expects;
  /** Of what is expected, as far as it is a number of bytes. */
  #missing = 0;
  /** Of a line, as far as it has come. */
  #line = '';

  constructor(headers: IncomingHttpHeaders) {
    this.#isChunked = headers['transfer-encoding']?.toLowerCase() === 'chunked';
    this.#missing = this.#isChunked ? 0 : Number(headers['content-length'] ?? 0);
    this.#expects = this.#isChunked ? 'size' : this.#missing > 0 ? 'data' : 'nothing';
  }

  get isOver(): boolean {
    return this.#expects === 'nothing';
  }

  /** How many of the first bytes of what comes next belong to the body. */
  take(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length && !this.isOver) {
      if (this.#expects === 'data') {
        const taken = Math.min(this.#missing, bytes.length - at);
        at += taken;
        this.#missing -= taken;
        if (this.#missing === 0) this.#expects = this.#isChunked ? 'end of data' : 'nothing';
      } else {
        this.#line += String.fromCharCode(bytes[at] ?? 0);
        at += 1;
        this.#read();
      }
    }
    return at;
  }

  /** One byte more of a line. */
  #read(): void {
    const line = this.#line;
    if (this.#expects !== 'size') {
      if (!crlf.startsWith(line)) this.#expects = 'nothing';
      if (line !== crlf) return;
      this.#expects = this.#expects === 'end of data' ? 'size' : 'nothing';
    } else if (line.endsWith(crlf)) {
      const [, digits] = /^([0-9a-f]{1,8})\r\n$/i.exec(line) ?? [];
      this.#missing = parseInt(digits ?? '', 16);
      this.#expects = digits === undefined ? 'nothing' : this.#missing > 0 ? 'data' : 'end of body';
    } else if (line.length < sizeLineBytesMax) return;
    else this.#expects = 'nothing';
    this.#line = '';
  }
}
