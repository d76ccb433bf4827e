/** What the lives of tasks leave behind in a manager: `npm run bench:store`. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { growth, runLifecycles } from './lifecycles.js';
import type { Sample } from './lifecycles.js';

const count = (name: string, usual: number): number => Number(process.env[name] ?? usual);
const mebibytes = (bytes: number): string => (bytes / (1024 * 1024)).toFixed(1);

const columns: Readonly<Record<string, (sample: Sample) => string>> = {
  lifecycles: (s) => String(s.lifecycles),
  'a second': (s) => String(Math.round(s.lifecycles / Math.max(1, s.seconds))),
  revision: (s) => String(s.revision),
  tasks: (s) => String(s.tasks),
  'heap MiB': (s) => mebibytes(s.heapBytes),
  'etcd MiB': (s) => mebibytes(s.etcdBytes),
  'database MiB': (s) => mebibytes(s.databaseBytes),
  'in use MiB': (s) => mebibytes(s.usedBytes),
};
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

test('what 200,000 lives of tasks leave behind', { timeout: 7_200_000 }, async () => {
  console.log(row(Object.keys(columns)));
  console.log(row(Object.keys(columns).map(() => '---:')));
  const samples = await runLifecycles({
    lifecycles: count('SKEP_LIFECYCLES', 200_000),
    slots: count('SKEP_SLOTS', 20),
    samples: 20,
    directory: mkdtempSync(join(tmpdir(), 'skep-lifecycles-')),
    peerPort: 24_680,
    onSample: (sample) => console.log(row(Object.values(columns).map((of) => of(sample)))),
  });
  const found = {
    heap: growth(samples, 'heapBytes'),
    etcd: growth(samples, 'etcdBytes'),
    database: growth(samples, 'databaseBytes'),
  };
  console.log(JSON.stringify(found));
  for (const [what, ratio] of Object.entries(found)) expect(ratio, what).toBeLessThan(1.1);
});
