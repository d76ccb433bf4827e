/**
 * The engine's log stream as lines: stdcopy frames (one header of eight octets per write) or, for a terminal, raw
 * bytes. Every line starts with the timestamp that was asked for. Reads no faster than it is read.
 */

export interface LogFrame {
  readonly stream: 1 | 2;
  /** RFC 3339 with nine fractional digits. */
  readonly timestamp: string;
  readonly data: Buffer;
}

const headerBytes = 8;
const newline = 0x0a;

export async function* readLogFrames(
  source: AsyncIterable<Buffer>,
  tty: boolean,
): AsyncGenerator<LogFrame, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const frame = tty ? takeLine(rest) : takeFrame(rest);
      if (!frame) break;
      rest = rest.subarray(frame.size);
      yield parseLine(frame.stream, frame.payload);
    }
  }
  if (tty && rest.length > 0) yield parseLine(1, rest);
}

interface Taken {
  readonly stream: 1 | 2;
  readonly payload: Buffer;
  readonly size: number;
}

function takeFrame(buffer: Buffer): Taken | undefined {
  if (buffer.length < headerBytes) return undefined;
  const size = headerBytes + buffer.readUInt32BE(4);
  if (buffer.length < size) return undefined;
  return { stream: buffer[0] === 2 ? 2 : 1, payload: buffer.subarray(headerBytes, size), size };
}

function takeLine(buffer: Buffer): Taken | undefined {
  const end = buffer.indexOf(newline);
  return end < 0 ? undefined : { stream: 1, payload: buffer.subarray(0, end + 1), size: end + 1 };
}

function parseLine(stream: 1 | 2, line: Buffer): LogFrame {
  const space = line.indexOf(0x20);
  return { stream, timestamp: line.subarray(0, space).toString(), data: line.subarray(space + 1) };
}
