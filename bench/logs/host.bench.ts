/** bench/logs on this machine's own kernel: `npm run bench:logs`. */
import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import { ManagedLab } from '../../test/support/managed-lab.js';
import { median } from '../../test/support/median.js';
import { columns } from '../columns.js';

const image = 'skep/busybox:lab';
const historyLines = Number(process.env['SKEP_LINES'] ?? 500_000);
const rounds = Number(process.env['SKEP_BENCH_ROUNDS'] ?? 3);
/** Lines written each second, and for how many seconds. */
const [liveRate, liveSeconds] = [10_000, 15];

/** A service on the other node whose container runs the script, and stays. */
const create = (lab: ManagedLab, name: string, script: string): Promise<string> =>
  lab.must('node1', [
    ...`service create -d --name ${name} --no-resolve-image --constraint node.hostname==node2 ${image}`.split(
      ' ',
    ),
    ...['sh', '-c', `${script}; exec sleep 600`],
  ]);

/** Reads lines that are numbers from 1; says how many came, and how many not behind the one before. */
const count = (slowly: string): string =>
  `awk '{ if ($1 != n + 1) wrong++; n = $1; ${slowly} } END { print NR, wrong + 0 }'`;
const counted = (output: string): { lines: number; wrong: number } => {
  const [lines = NaN, wrong = NaN] = output.split(' ').map(Number);
  return { lines, wrong };
};

interface Row {
  readonly lab: ManagedLab;
  readonly aSecond: number[];
  readonly counts: { readonly of: string; readonly lines: number; readonly wrong: number }[];
  grownMiB: number;
}

test('what comes of the lines that a service writes', { timeout: 900_000 }, async () => {
  await using skep = await ManagedLab.create('skep', 'bench-logs-skep', 2);
  await using swarm = await ManagedLab.create('swarm', 'bench-logs-swarm', 2);
  const rows: Row[] = [];
  for (const lab of [skep, swarm]) {
    await lab.initManagers();
    await create(lab, 'history', `seq 1 ${historyLines}`);
    const isLast = (output: string): boolean => output === String(historyLines);
    await lab.until('node1', 'service logs --raw --tail 1 history', isLast, 60_000);
    rows.push({ lab, aSecond: [], counts: [], grownMiB: NaN });
  }
  for (let round = 0; round < rounds; round++)
    for (const { lab, aSecond, counts } of rows) {
      const startedMs = performance.now();
      const output = await lab.sh('node1', `docker service logs --raw history 2>&1 | ${count('')}`, 120_000);
      aSecond.push((historyLines / (performance.now() - startedMs)) * 1_000);
      counts.push({ of: 'history', ...counted(output) });
    }
  for (const row of rows) {
    const { lab, counts } = row;
    const beforeMiB = await lab.memoryMiB('node1', 'VmHWM');
    const burst = `seq $((i * ${liveRate} + 1)) $(((i + 1) * ${liveRate}))`;
    await create(lab, 'live', `i=0; while [ $i -lt ${liveSeconds} ]; do ${burst}; i=$((i+1)); sleep 1; done`);
    // One reader keeps up, one is slower than what is written.
    const [live, slow] = await Promise.all(
      ['', 'if (NR % 5000 == 0) system("sleep 0.8")'].map((slowly) =>
        lab.sh(
          'node1',
          `timeout ${liveSeconds * 3} docker service logs -f --raw live 2>&1 | ${count(slowly)}`,
          120_000,
        ),
      ),
    );
    counts.push({ of: 'live', ...counted(live ?? '') }, { of: 'slow', ...counted(slow ?? '') });
    row.grownMiB = (await lab.memoryMiB('node1', 'VmHWM')) - beforeMiB;
  }
  const [ours, theirs] = rows.map(({ aSecond }) => median(aSecond));
  const table = rows.map(({ lab, aSecond, counts, grownMiB }) => [
    lab.by,
    Math.round(median(aSecond)).toString(),
    (median(aSecond) / theirs!).toFixed(2),
    ...['history', 'live', 'slow'].map((each) => {
      const of = counts.filter((found) => found.of === each);
      return of.map(({ lines, wrong }) => `${lines}${wrong === 0 ? '' : ` (${wrong} wrong)`}`).join(' ');
    }),
    Math.round(grownMiB).toString(),
  ]);
  const head = [
    'manager',
    'lines/s',
    'of swarm',
    'history',
    `live ${liveRate}/s`,
    'slow reader',
    'MiB grown',
  ];
  console.log(columns([head, ...table]));
  for (const { of, lines, wrong } of rows[0]!.counts)
    expect({ of, lines, wrong }).toEqual({
      of,
      lines: of === 'history' ? historyLines : liveRate * liveSeconds,
      wrong: 0,
    });
  expect(ours! / theirs!).toBeGreaterThan(0.5);
});
