/**
 * Lines of a task's output as they travel from its engine to whoever asked: one behind the other in one piece of memory, which is
 * read in place and passed on in slices, so that a line costs next to nothing on its way. A line is what the engine says of it:
 *
 *     stream (1 octet), three zeros, length of what follows (4 octets, big-endian)     stdcopy's header
 *     timestamp (30 octets), space, details, space, text
 *
 * The timestamp is RFC 3339 in UTC with nine fractional digits, so that its octets are in the order of time. Details are what the
 * log driver notes of the line, `key=value,key=value` escaped as in a query; mostly nothing. Offsets are those of lines' headers.
 */
import { SkepError } from '../model/errors.js';

export const headerBytes = 8;
export const timestampBytes = 30;
const space = 0x20;
const letterZ = 0x5a;

/** Standard output, standard error; or a manager's note in place of lines that are missing. */
export type LogStream = 1 | 2 | 3;

/** What a stdcopy frame begins with, written into `target`. @param size of what follows, in bytes */
export function writeHeader(target: Buffer, at: number, stream: number, size: number): void {
  target[at] = stream;
  target.fill(0, at + 1, at + 4);
  target.writeUInt32BE(size, at + 4);
}

/** Where the line that begins at the offset ends, and the next one begins. */
export const lineEnd = (packed: Buffer, at: number): number => at + headerBytes + packed.readUInt32BE(at + 4);

/** Whether what lies between the offsets begins as a line does: with a timestamp of that form. */
export const isLineAt = (packed: Buffer, at: number, end: number): boolean =>
  end >= at + headerBytes + timestampBytes + 2 &&
  packed[at + headerBytes + timestampBytes - 1] === letterZ &&
  packed[at + headerBytes + timestampBytes] === space;

export const timestampAt = (packed: Buffer, at: number): string =>
  packed.toString('latin1', at + headerBytes, at + headerBytes + timestampBytes);

/** Which of two lines is older: negative, zero or positive. */
export function compareTimestamps(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  for (let i = headerBytes; i < headerBytes + timestampBytes; i++) {
    const difference = a[aAt + i]! - b[bAt + i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Where the line's text begins: behind its details. `end` is the line's. */
export function textStart(packed: Buffer, at: number, end: number): number {
  const from = at + headerBytes + timestampBytes + 1;
  // Mostly there are none.
  if (packed[from] === space) return from + 1;
  const found = packed.indexOf(space, from);
  return found < 0 || found >= end ? end : found + 1;
}

/** Where the last one begins. Looks at all of them: throws `invalidArgument` if these are no lines, as another host might say. */
export function lastLine(packed: Buffer): number {
  let last = -1;
  for (let at = 0; at < packed.length;) {
    const end = at + headerBytes <= packed.length ? lineEnd(packed, at) : Infinity;
    const stream = packed[at]!;
    if (end > packed.length || !isLineAt(packed, at, end) || stream < 1 || stream > 3)
      throw new SkepError('invalidArgument', 'these are no lines of a log');
    last = at;
    at = end;
  }
  if (last < 0) throw new SkepError('invalidArgument', 'no line of a log');
  return last;
}

/** One line. @param details in the form that the engine gives */
export function packLine(stream: LogStream, timestamp: string, details: string, text: Buffer): Buffer {
  const head = `${timestamp} ${details} `;
  const packed = Buffer.allocUnsafe(headerBytes + head.length + text.length);
  writeHeader(packed, 0, stream, head.length + text.length);
  packed.write(head, headerBytes, 'latin1');
  text.copy(packed, headerBytes + head.length);
  return packed;
}
