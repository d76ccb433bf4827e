/** A short run of bench/store: what the lives of tasks leave behind. `npm run bench:store` has the long one. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { growth, runLifecycles } from '../../bench/store/lifecycles.js';

test('2,000 lives of tasks leave a bounded history and nothing in the memory of a manager', async () => {
  const slots = 50;
  const samples = await runLifecycles({
    lifecycles: 2_000,
    slots,
    samples: 8,
    directory: mkdtempSync(join(tmpdir(), 'skep-lifecycles-')),
    peerPort: 24_690,
  });
  expect(growth(samples, 'heapBytes')).toBeLessThan(1.1);
  for (const { tasks } of samples) expect(tasks).toBeLessThanOrEqual(5 * slots);
});
