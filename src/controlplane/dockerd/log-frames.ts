/**
 * The engine's log stream as lines: stdcopy frames (one header of eight octets per write) or, for a terminal, raw
 * bytes. Every line starts with the timestamp and the details that were asked for. Reads no faster than it is read, and gives
 * together what came together.
 */

export interface LogFrame {
  readonly stream: 1 | 2;
  /** RFC 3339 with nine fractional digits. */
  readonly timestamp: string;
  /** What the log driver notes of the line; mostly nothing. */
  readonly attrs: Readonly<Record<string, string>>;
  readonly data: Buffer;
}

const headerBytes = 8;
const newline = 0x0a;
const space = 0x20;

export async function* readLogFrames(
  source: AsyncIterable<Buffer>,
  tty: boolean,
): AsyncGenerator<readonly LogFrame[], void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const frames: LogFrame[] = [];
    for (let frame = take(rest, tty); frame; frame = take(rest, tty)) {
      rest = rest.subarray(frame.size);
      frames.push(parseLine(frame.stream, frame.payload));
    }
    if (frames.length > 0) yield frames;
  }
  if (tty && rest.length > 0) yield [parseLine(1, rest)];
}

interface Taken {
  readonly stream: 1 | 2;
  readonly payload: Buffer;
  readonly size: number;
}

const take = (buffer: Buffer, tty: boolean): Taken | undefined =>
  tty ? takeLine(buffer) : takeFrame(buffer);

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

/** `timestamp SP details SP line`; without details the two spaces are next to each other. */
function parseLine(stream: 1 | 2, line: Buffer): LogFrame {
  const first = line.indexOf(space);
  const second = line.indexOf(space, first + 1);
  return {
    stream,
    timestamp: line.toString('latin1', 0, first),
    attrs: second === first + 1 ? {} : parseDetails(line.toString('latin1', first + 1, second)),
    data: line.subarray(second + 1),
  };
}

/** `k=v,k=v`, both sides as in a query. */
const parseDetails = (text: string): Record<string, string> => {
  const unescape = (part: string): string => decodeURIComponent(part.replace(/\+/g, ' '));
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [key = '', value = ''] = pair.split('=');
      return [unescape(key), unescape(value)];
    }),
  );
};
