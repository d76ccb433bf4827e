/** Packed lines of tasks' output, written and read by tests. */
import { lineEnd, packLine, textStart, timestampAt } from '../../src/controlplane/packed-lines.js';
import type { LogStream } from '../../src/controlplane/packed-lines.js';

export interface PlainLine {
  readonly stream: number;
  readonly timestamp: string;
  readonly details: string;
  readonly text: string;
}

export const packed = (...lines: readonly Partial<PlainLine>[]): Buffer =>
  Buffer.concat(
    lines.map(({ stream = 1, timestamp = '2026-11-21T03:07:14.127641534Z', details = '', text = '' }) =>
      packLine(stream as LogStream, timestamp, details, Buffer.from(text)),
    ),
  );

export function unpacked(lines: Buffer): PlainLine[] {
  const found: PlainLine[] = [];
  for (let at = 0, end; at < lines.length; at = end) {
    end = lineEnd(lines, at);
    const text = textStart(lines, at, end);
    found.push({
      stream: lines[at] ?? 0,
      timestamp: timestampAt(lines, at),
      details: lines.toString('latin1', at + 39, text - 1),
      text: lines.toString('utf8', text, end),
    });
  }
  return found;
}
