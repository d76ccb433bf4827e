/** How control loops keep pace with the number of tasks: `npm run bench:orchestrate`. bench/README.md says what is measured. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { columns } from '../columns.js';
import { median } from '../../test/support/median.js';
import { liveOnce } from './life.js';
import type { Life, Shape } from './life.js';
import { startManager } from './manager.js';

const counts = (process.env.SKEP_TASKS ?? '100,1000,10000').split(',').map(Number);
const shapes = (process.env.SKEP_SHAPES ?? 'one service,services of 20').split(',') as Shape[];
/** Lives of fewer tasks are repeated, for their median. */
const roundsOf = (tasks: number): number => Math.max(1, Math.min(5, Math.round(3_000 / tasks)));
const partMsMax = 600_000;

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
const middle = (lives: readonly Life[], of: (life: Life) => number): number => median(lives.map(of));
const rate = (lives: readonly Life[], of: (life: Life) => number): number =>
  middle(lives, (life) => life.tasks / of(life));

const figures: Readonly<Record<string, (lives: readonly Life[]) => string>> = {
  tasks: ([life]) => String(life?.tasks),
  rounds: (lives) => String(lives.length),
  'assigned/s': (lives) => rate(lives, (life) => life.assignedSeconds).toFixed(0),
  'running/s': (lives) => rate(lives, (life) => life.runningSeconds).toFixed(0),
  'updated/s': (lives) => rate(lives, (life) => life.updatedSeconds).toFixed(0),
  'removed/s': (lives) => rate(lives, (life) => life.removedSeconds).toFixed(0),
  'manager ms/task': (lives) => (1_000 / rate(lives, (life) => life.managerSeconds)).toFixed(2),
  'etcd ms/task': (lives) => (1_000 / rate(lives, (life) => life.etcdSeconds)).toFixed(2),
  'RSS max MiB': (lives) => mebibytes(Math.max(...lives.map(({ residentBytesMax }) => residentBytesMax))),
  'heap before MiB': (lives) => mebibytes(middle(lives, (life) => life.heapBytesBefore)),
  'heap running MiB': (lives) => mebibytes(middle(lives, (life) => life.heapBytesRunning)),
  'heap KiB/task': (lives) =>
    middle(lives, (life) => (life.heapBytesRunning - life.heapBytesBefore) / life.tasks / 1_024).toFixed(1),
};

test.each(shapes)('%s: what 10,000 tasks cost each', { timeout: 3_600_000 }, async (shape) => {
  const of = new Map<number, readonly Life[]>();
  await using manager = await startManager({
    nodes: 50,
    directory: mkdtempSync(join(tmpdir(), 'skep-orchestrate-')),
    peerPort: 24_700,
  });
  // The first is slower: nothing is compiled yet.
  await liveOnce(manager, { shape, tasks: 100, partMsMax });
  for (const tasks of counts) {
    const lives: Life[] = [];
    for (let round = 0; round < roundsOf(tasks); round++)
      lives.push(await liveOnce(manager, { shape, tasks, partMsMax }));
    of.set(tasks, lives);
  }
  const rows = [...of.values()].map((lives) => Object.values(figures).map((figure) => figure(lives)));
  console.log(`${shape}\n${columns([Object.keys(figures), ...rows])}`);
  const [least, most] = [of.get(Math.min(...counts)), of.get(Math.max(...counts))];
  const kept = (seconds: (life: Life) => number): number =>
    rate(most ?? [], seconds) / rate(least ?? [], seconds);
  const ratios = {
    assigned: kept((life) => life.assignedSeconds),
    running: kept((life) => life.runningSeconds),
    updated: kept((life) => life.updatedSeconds),
    removed: kept((life) => life.removedSeconds),
  };
  console.log(JSON.stringify({ shape, ratios }));
  for (const [what, ratio] of Object.entries(ratios)) expect.soft(ratio, what).toBeGreaterThanOrEqual(0.5);
});
