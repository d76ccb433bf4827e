/** bench/program on this machine's own kernel, with the `ebpf` engine: `npm run bench:program`. */
import { rmSync } from 'node:fs';
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { openEngineOf } from '../../test/conformance/engines.js';
import { measure, sizesOf } from './program.js';

const name = `p${process.pid % 1000}`;
const pins = `/sys/fs/bpf/${name}`;
const sizes = sizesOf({ services: 1_000, among: 5_000, rounds: 60, share: 1 }, process.env);

test('what programming costs', { timeout: 900_000 }, async () => {
  try {
    const options = { name, openEngine: (node: string) => openEngineOf('ebpf', `${pins}/${node}`) };
    const found = await measure(options, sizes);
    console.log(JSON.stringify({ kernel: release(), engine: 'ebpf', ...found }, null, 2));
    expect(found.nothing.timesFaster).toBeGreaterThan(20);
    expect(found.nothing.verifyMs).toBeLessThan(2_000);
    expect(found.change.processorRatio).toBeLessThan(1.5);
  } finally {
    rmSync(pins, { recursive: true, force: true });
  }
});
