/** What the engine's log streams become; every piece is looked through as a manager would. */
import { expect, test } from 'vitest';
import { readLogFrames } from '../../../src/controlplane/dockerd/log-frames.js';
import { lastLine } from '../../../src/controlplane/packed-lines.js';
import { unpacked } from '../../support/log-lines.js';

const at = '2026-11-21T03:07:14.127641534Z';
const frame = (stream: number, text: string): Buffer => {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(text.length, 4);
  return Buffer.concat([header, Buffer.from(text)]);
};

async function read(bytes: Buffer, chunk: number, tty: boolean): Promise<string[]> {
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let i = 0; i < bytes.length; i += chunk) yield bytes.subarray(i, i + chunk);
  }
  const lines: string[] = [];
  try {
    for await (const packed of readLogFrames(chunks(), tty)) {
      lastLine(packed);
      for (const { stream, timestamp, details, text } of unpacked(packed))
        lines.push(`${stream} ${timestamp} ${details && `${details} `}${JSON.stringify(text)}`);
    }
  } catch (err) {
    lines.push((err as Error).message);
  }
  return lines;
}

test.each([1, 3, 8, 1000])('frames are found however the bytes arrive (%i at a time)', async (chunk) => {
  const bytes = Buffer.concat([
    frame(1, `${at}  out 1\n`),
    frame(2, `${at} b+c=x%3Dy,tag=1 err\n`),
    frame(1, `${at}  \n`),
  ]);
  expect(await read(bytes, chunk, false)).toEqual([
    `1 ${at} "out 1\\n"`,
    `2 ${at} b+c=x%3Dy,tag=1 "err\\n"`,
    `1 ${at} "\\n"`,
  ]);
});

test('a terminal has lines, the last one perhaps unfinished', async () => {
  expect(await read(Buffer.from(`${at}  a\r\n${at}  $ `), 5, true)).toEqual([
    `1 ${at} "a\\r\\n"`,
    `1 ${at} "$ "`,
  ]);
});

test('a terminal’s line that never ends goes on in pieces, with the time of its begin', async () => {
  const drawn = '\r|'.repeat(60_000);
  const lines = await read(Buffer.from(`${at}  ${drawn}`), 10_000, true);
  expect(lines.length).toBeGreaterThan(1);
  expect(lines.map((line) => line.slice(0, 32))).toEqual(lines.map(() => `1 ${at}`));
  expect(lines.map((line) => JSON.parse(line.slice(33)) as string).join('')).toBe(drawn);
});

test.each([7, 1000])('what the engine says of itself ends the lines (%i at a time)', async (chunk) => {
  const said = 'Error grabbing logs: invalid character\n';
  expect(await read(Buffer.concat([frame(1, `${at}  a\n`), frame(3, said)]), chunk, false)).toEqual([
    `1 ${at} "a\\n"`,
    'invalid character',
  ]);
  expect(await read(Buffer.from(`${at}  a\n${said}`), chunk, true)).toEqual([
    `1 ${at} "a\\n"`,
    'invalid character',
  ]);
});

test.each([true, false])('a driver’s local time becomes UTC, a terminal: %s', async (tty) => {
  const texts = ['2026-11-21T05:07:14.127+02:00  a\n', `${at}  b\n`, '2026-11-20T23:07:15.5-04:00 tag=1 c\n'];
  const bytes = tty ? Buffer.from(texts.join('')) : Buffer.concat(texts.map((text) => frame(1, text)));
  expect(await read(bytes, 1000, tty)).toEqual([
    '1 2026-11-21T03:07:14.127000000Z "a\\n"',
    `1 ${at} "b\\n"`,
    '1 2026-11-21T03:07:15.500000000Z tag=1 "c\\n"',
  ]);
});
