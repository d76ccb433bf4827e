/** bench/engines on the kernel it runs on: `npm run bench:engines`. */
import { rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { loads } from './load.js';
import { ensureBpffs } from '../../src/dataplane/ebpf/bpf.js';
import { enginesHere } from '../harness/engines.js';
import { measure, programTableOf, tableOf } from './engines.js';

const name = `b${process.pid % 1000}`;

test('what balancing costs', { timeout: 600_000 }, async () => {
  ensureBpffs(`/sys/fs/bpf/${name}`);
  const engines = await enginesHere();
  const rounds = Number(process.env['SKEP_BENCH_ROUNDS'] ?? 5);
  const wanted = process.env['SKEP_BENCH_LOADS']?.split(',');
  const seconds = Number(process.env['SKEP_BENCH_SECONDS'] ?? 1);
  try {
    const { rows, programs } = await measure({
      ...{ engines, rounds, seconds, name },
      loads: loads.filter((load) => wanted?.includes(load) ?? true),
    });
    console.log(
      `Linux ${release()}, ${rounds} rounds of ${seconds} s\n${tableOf(rows)}\n\n${programTableOf(programs)}`,
    );
    const json = JSON.stringify({ kernel: release(), rounds, seconds, rows, programs });
    const file = process.env['SKEP_BENCH_JSON'];
    if (file === undefined) console.log(json);
    else await writeFile(file, json);
    expect(rows).not.toEqual([]);
  } finally {
    rmSync(`/sys/fs/bpf/${name}`, { recursive: true, force: true });
  }
});
