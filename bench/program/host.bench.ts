/** bench/program on this machine's own kernel, with the `ebpf` engine: `npm run bench:program`. */
import { rmSync } from 'node:fs';
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { openEngineOf } from '../../test/conformance/engines.js';
import { fromNothing, oneChange } from './program.js';

const name = `p${process.pid % 1000}`;
const pins = `/sys/fs/bpf/${name}`;
const number = (variable: string, otherwise: number): number => Number(process.env[variable] ?? otherwise);

test('what programming costs', { timeout: 900_000 }, async () => {
  const options = { name, openEngine: (node: string) => openEngineOf('ebpf', `${pins}/${node}`) };
  const endpoints = 10;
  try {
    const nothing = await fromNothing(
      options,
      { services: number('SKEP_BENCH_SERVICES', 1_000), endpoints },
      number('SKEP_BENCH_SHARE', 1),
    );
    const change = await oneChange(
      options,
      [
        { services: 10, endpoints },
        { services: number('SKEP_BENCH_AMONG', 5_000), endpoints },
      ],
      number('SKEP_BENCH_ROUNDS', 60),
    );
    console.log(JSON.stringify({ kernel: release(), engine: 'ebpf', nothing, change }, null, 2));
    expect(nothing.timesFaster).toBeGreaterThan(1);
  } finally {
    rmSync(pins, { recursive: true, force: true });
  }
});
