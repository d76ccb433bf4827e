/** Do the control loops keep pace with the number of tasks? */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bar } from '../harness/bars.js';
import { bench } from '../harness/bench.js';
import { alternate } from '../harness/rounds.js';
import { Measurements } from '../harness/series.js';
import { liveOnce } from './life.js';
import type { Life, Shape } from './life.js';
import { startManager } from './manager.js';

const { SKEP_TASKS = '100,2000', SKEP_SHAPES = 'one service,services of 20' } = process.env;
const counts = SKEP_TASKS.split(',').map(Number);
const [least, most] = [Math.min(...counts), Math.max(...counts)];
const shapes = SKEP_SHAPES.split(',') as readonly Shape[];
const partMsMax = 600_000;
/** Of the rate with few tasks. */
const keptLeast = 0.5;
/** What fewer add to the heap is lost in what else comes and goes there. */
const heapTasksLeast = 1_000;

const contender = 'skep';

/** The strict one is the first: few tasks are assigned before any node has reported, many while thousands of reports are written. */
const rates: Readonly<Record<string, (life: Life) => number>> = {
  assigned: ({ assignedSeconds }) => assignedSeconds,
  running: ({ runningSeconds }) => runningSeconds,
  updated: ({ updatedSeconds }) => updatedSeconds,
  removed: ({ removedSeconds }) => removedSeconds,
};

const nameOf = (shape: Shape, tasks: number, measure: string) => ({
  case: `${tasks.toLocaleString('en')} tasks, ${shape}`,
  ...{ measure, contender },
});

function add(found: Measurements, shape: Shape, life: Life): void {
  const { tasks } = life;
  const put = (measure: string, unit: string, value: number): void =>
    found.add({ ...nameOf(shape, tasks, measure), unit }, value);
  for (const [what, seconds] of Object.entries(rates)) put(what, '1/s', tasks / seconds(life));
  put('processor time of the manager', 'ms a task', (1_000 * life.managerSeconds) / tasks);
  put('processor time of etcd', 'ms a task', (1_000 * life.etcdSeconds) / tasks);
  put('resident memory of the manager, highest', 'MiB', life.residentBytesMax / 2 ** 20);
  if (tasks >= heapTasksLeast)
    put(
      'heap of running tasks',
      'KiB a task',
      (life.heapBytesRunning - life.heapBytesBefore) / tasks / 1_024,
    );
}

bench('orchestrate', {
  kernels: ['host'],
  timeoutMs: 2 * 3_600_000,
  async measure({ rounds, progress }) {
    await using manager = await startManager({
      nodes: 50,
      directory: mkdtempSync(join(tmpdir(), 'skep-orchestrate-')),
      peerPort: 24_700,
    });
    const lives = shapes.flatMap((shape) => counts.map((tasks) => ({ shape, tasks })));
    progress('the first life, which is slower: nothing is compiled yet');
    for (const shape of shapes) await liveOnce(manager, { shape, tasks: least, partMsMax });
    const found = new Measurements();
    await alternate(
      lives,
      rounds,
      progress,
      ({ shape, tasks }) => nameOf(shape, tasks, '').case,
      async (life) => add(found, life.shape, await liveOnce(manager, { ...life, partMsMax })),
    );
    const bars = shapes.flatMap((shape) =>
      Object.keys(rates).map((what): Bar => ({
        of: nameOf(shape, most, what),
        against: nameOf(shape, least, what),
        atLeast: keptLeast,
      })),
    );
    return { series: found.series, bars };
  },
});
