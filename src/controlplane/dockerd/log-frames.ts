/**
 * The engine's log stream as packed lines (packed-lines.ts): stdcopy frames or, for a terminal, raw lines. Every line starts with the
 * timestamp and the details that were asked for. Frames mostly are packed lines as they are and leave as slices of what came. Reads
 * no faster than it is read.
 */
import { headerBytes, isLineAt, lineEnd, packLine, timestampAt, writeHeader } from '../packed-lines.js';

/** What the engine says in its own name when it cannot read on: stdcopy's stream 3, or a line without a timestamp. */
const systemError = 3;
const engineErrorPrefix = 'Error grabbing logs: ';

/** The engine gave up within the log. */
export class LogBrokenError extends Error {
  override readonly name = 'LogBrokenError';
}

const newline = 0x0a;
const space = 0x20;
/** A terminal's line that is longer goes on in pieces: programs that draw never end one. */
const pieceBytesMax = 64 * 1024;

/** @param source of the engine, cut anywhere. Throws {@link LogBrokenError} where the engine says that it cannot read on, behind all that it could. */
export async function* readLogFrames(
  source: AsyncIterable<Buffer>,
  tty: boolean,
): AsyncGenerator<Buffer, void> {
  let rest: Buffer = Buffer.alloc(0);
  const terminal = new TerminalLines();
  for await (const chunk of source) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const { packed, taken, broken } = tty ? terminal.whole(bytes) : wholeFrames(bytes);
    rest = bytes.subarray(taken);
    if (packed.length > 0) yield packed;
    if (broken) throw broken;
  }
  if (tty && rest.length > 0) yield terminal.pack(rest);
}

interface Whole {
  readonly packed: Buffer;
  /** How many bytes that was of what came. */
  readonly taken: number;
  /** Behind that the engine says that it cannot read on. */
  readonly broken?: LogBrokenError | undefined;
}

function wholeFrames(bytes: Buffer): Whole {
  let at = 0;
  /** Where those begin that are not among the parts yet. */
  let from = 0;
  const parts: Buffer[] = [];
  let broken: LogBrokenError | undefined;
  while (!broken && at + headerBytes <= bytes.length) {
    const end = lineEnd(bytes, at);
    if (end > bytes.length) break;
    if (bytes[at] === 0 || bytes[at]! > 2 || !isLineAt(bytes, at, end)) {
      const line = bytes.subarray(at + headerBytes, end);
      const packed = inUtc(bytes[at] === 2 ? 2 : 1, line);
      broken = brokenBy(bytes[at]!, line) ?? (packed ? undefined : noTime());
      parts.push(bytes.subarray(from, at));
      if (packed && !broken) parts.push(packed);
      from = end;
    }
    at = end;
  }
  const last = bytes.subarray(from, at);
  return { packed: parts.length === 0 ? last : Buffer.concat([...parts, last]), taken: at, broken };
}

class TerminalLines {
  /** Of the line before: pieces of one have no other. */
  #timestamp = '1970-01-01T00:00:00.000000000Z';

  whole(bytes: Buffer): Whole {
    const parts: Buffer[] = [];
    let at = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, at)) {
      const line = bytes.subarray(at, end + 1);
      const broken = brokenBy(1, line);
      if (broken) return { packed: Buffer.concat(parts), taken: at, broken };
      parts.push(this.pack(line));
      at = end + 1;
    }
    if (bytes.length - at > pieceBytesMax) {
      parts.push(this.pack(bytes.subarray(at)));
      at = bytes.length;
    }
    return { packed: Buffer.concat(parts), taken: at };
  }

  pack(line: Buffer): Buffer {
    let packed: Buffer | undefined = Buffer.allocUnsafe(headerBytes + line.length);
    writeHeader(packed, 0, 1, line.length);
    line.copy(packed, headerBytes);
    if (!isLineAt(packed, 0, packed.length)) packed = inUtc(1, line);
    if (!packed) return packLine(1, this.#timestamp, '', line);
    this.#timestamp = timestampAt(packed, 0);
    return packed;
  }
}

const noTime = (): LogBrokenError => new LogBrokenError('the engine gives a line without its time');

const brokenBy = (stream: number, line: Buffer): LogBrokenError | undefined =>
  stream === systemError || line.toString('latin1', 0, engineErrorPrefix.length) === engineErrorPrefix
    ? new LogBrokenError(line.toString().replace(engineErrorPrefix, '').trim())
    : undefined;

/** A line with its timestamp in another form, as some drivers have local time; undefined if it begins with none. */
function inUtc(stream: 1 | 2, line: Buffer): Buffer | undefined {
  const first = line.indexOf(space);
  const second = first < 0 ? -1 : line.indexOf(space, first + 1);
  if (second < 0) return undefined;
  const [, whole, fraction = '', zone] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(
      line.toString('latin1', 0, first),
    ) ?? [];
  const ms = whole === undefined ? NaN : Date.parse(`${whole}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  const timestamp = `${new Date(ms).toISOString().slice(0, 19)}.${fraction.padEnd(9, '0')}Z`;
  return packLine(stream, timestamp, line.toString('latin1', first + 1, second), line.subarray(second + 1));
}
