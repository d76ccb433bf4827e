/** docs/packet-walk.md says of the `ebpf` engine what this machine's own kernel holds once it is programmed. */
import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { EbpfEngine } from '../../src/dataplane/balancer/ebpf.js';
import { openPinnedTables } from '../../src/dataplane/balancer/pinned-tables.js';
import { describePacketWalk, documentedPacketWalk } from '../support/packet-walk.js';

const name = `pw${process.pid}`;
const pinsOf = (node: number): string => `/sys/fs/bpf/${name}-${node}`;
afterAll(() => [1, 2].forEach((node) => rmSync(pinsOf(node), { recursive: true, force: true })));

test('docs/packet-walk.md is true of ebpf; if not: npm run docs:packet-walk', async () => {
  const openEngine = (node: number): EbpfEngine => new EbpfEngine(() => openPinnedTables(pinsOf(node)));
  const text = await describePacketWalk({ engine: 'ebpf', name, openEngine });
  expect(await documentedPacketWalk('ebpf', text)).toBe(text);
});
