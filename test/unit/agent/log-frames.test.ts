import { expect, test } from 'vitest';
import { readLogFrames } from '../../../src/controlplane/dockerd/log-frames.js';

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
  for await (const frames of readLogFrames(chunks(), tty))
    for (const { stream, timestamp, attrs, data } of frames) {
      const noted = Object.entries(attrs).map(([key, value]) => `${key}=${value} `);
      lines.push(`${stream} ${timestamp} ${noted.join('')}${JSON.stringify(data.toString())}`);
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
    `2 ${at} b c=x=y tag=1 "err\\n"`,
    `1 ${at} "\\n"`,
  ]);
});

test('a terminal has lines, the last one perhaps unfinished', async () => {
  expect(await read(Buffer.from(`${at}  a\r\n${at}  $ `), 5, true)).toEqual([
    `1 ${at} "a\\r\\n"`,
    `1 ${at} "$ "`,
  ]);
});
