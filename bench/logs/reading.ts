/**
 * A service whose lines are numbers from 1, on a manager that neither leads nor is asked, read with the stock CLI: whatever is lost,
 * doubled or out of turn shows.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { ManagedLab } from '../../test/support/managed-lab.js';

const image = 'skep/busybox:lab';
const historyLines = 300_000;
const liveRate = 10_000;
const liveSeconds = 40;
/** The slow reader's, in lines a second: it is done long after the others. */
const slowRate = 6_000;
const liveLines = liveRate * liveSeconds;
/** Memory is not judged before: code is compiled, buffers find their size. */
const warmUpSeconds = 8;
const commandMsMax = 200_000;

export interface Cluster {
  readonly lab: ManagedLab;
  readonly leader: string;
  /** Another manager. */
  readonly asked: string;
  /** Has the tasks. */
  readonly runner: string;
  /** Resident memory of the daemons before any line was written, in MiB: leader, asked, runner. */
  readonly idleMiB: readonly number[];
}

/** Which manager is asked for a history. */
export const readings = ['of the leader', 'of another manager'] as const;

export async function begin(lab: ManagedLab): Promise<Cluster> {
  const leader = await lab.awaitWell();
  const [asked = '', runner = ''] = lab.nodes.filter((node) => node !== leader);
  return { lab, leader, asked, runner, idleMiB: await memoryMiB(lab, [leader, asked, runner]) };
}

const memoryMiB = (lab: ManagedLab, nodes: readonly string[]): Promise<number[]> =>
  Promise.all(nodes.map((node) => lab.memoryMiB(node, 'VmRSS')));

export async function writeHistory(cluster: Cluster): Promise<void> {
  const { lab, leader } = cluster;
  await create(cluster, 'history', `seq 1 ${historyLines}`);
  const isLast = (output: string): boolean => output === String(historyLines);
  await lab.until(leader, 'service logs --raw --tail 1 history', isLast, 60_000);
}

/** A service whose container runs the script, and stays. */
const create = ({ lab, leader, runner }: Cluster, name: string, script: string): Promise<string> =>
  lab.must(leader, [
    ...`service create -d --name ${name} --no-resolve-image --constraint node.hostname==${runner} ${image}`.split(
      ' ',
    ),
    ...['sh', '-c', `${script}; exec sleep 3600`],
  ]);

/** Reads lines that are numbers from 1; says how many came, and how many not behind the one before. */
const count = (slowly = ''): string =>
  `awk '{ if ($1 != n + 1) amiss++; n = $1; ${slowly} } END { print NR, amiss + 0 }'`;

/** How many of the lines are missing or were not behind the one before. */
function amissOf(output: string, expected: number): number {
  const [lines = NaN, amiss = NaN] = output.split(' ').map(Number);
  return Math.abs(expected - lines) + amiss;
}

export async function readHistory(
  { lab, leader, asked }: Cluster,
  reading: (typeof readings)[number],
): Promise<{ linesASecond: number; amiss: number }> {
  const node = reading === 'of the leader' ? leader : asked;
  const startedMs = performance.now();
  const output = await lab.sh(node, `docker service logs --raw history 2>&1 | ${count()}`, commandMsMax);
  const seconds = (performance.now() - startedMs) / 1_000;
  return { linesASecond: historyLines / seconds, amiss: amissOf(output, historyLines) };
}

export interface DaemonMemory {
  readonly of: string;
  readonly grownMiB: number;
  /** Peak of the second half of the load, behind what warms up, against that of the first. */
  readonly growth: number;
}

/**
 * Lines written at {@link liveRate} and read, at the manager that is asked, by three: one that keeps up, one that is slower than what
 * is written, and one that reads nothing before all is written. Each is to have all lines in the end.
 */
export async function readLive(
  cluster: Cluster,
): Promise<{ amiss: ReadonlyMap<string, number>; memory: readonly DaemonMemory[] }> {
  const { lab, leader, asked, runner, idleMiB } = cluster;
  const daemons = [
    ['leader', leader],
    ['manager that is asked', asked],
    ['task’s node', runner],
  ] as const;
  // A tenth of a second's lines at a time; a burst that is late is made up for.
  const burst = liveRate / 10;
  const now = '$(cut -d" " -f1 /proc/uptime | tr -d .)';
  await create(
    cluster,
    'live',
    `b=${now}; i=0; while [ $i -lt ${liveLines} ]; do seq $((i + 1)) $((i + ${burst})); i=$((i + ${burst})); ` +
      `until [ $((${now} - b)) -ge $((i * 100 / ${liveRate})) ]; do usleep 20000; done; done`,
  );
  const readers: readonly (readonly [name: string, seconds: number, reads: string])[] = [
    ['fast reader', liveSeconds + 10, count()],
    ['slow reader', liveLines / slowRate + 25, count(`if (NR % ${slowRate / 2} == 0) system("sleep 0.5")`)],
    ['stopped reader', liveSeconds + 25, `(sleep ${liveSeconds + 2}; ${count()})`],
  ];
  const reading = Promise.all(
    readers.map(async ([name, seconds, reads]) => {
      const follow = `timeout ${Math.ceil(seconds)} docker service logs -f --raw live 2>&1`;
      return [name, amissOf(await lab.sh(asked, `${follow} | ${reads}`, commandMsMax), liveLines)] as const;
    }),
  );
  const samples: { readonly second: number; readonly mib: readonly number[] }[] = [];
  const startedMs = performance.now();
  for (let second = 0; second < liveSeconds; second = (performance.now() - startedMs) / 1_000) {
    samples.push({ second, mib: await memoryMiB(lab, [leader, asked, runner]) });
    await delay(500);
  }
  const amiss = new Map(await reading);
  const middle = (liveSeconds + warmUpSeconds) / 2;
  const peak = (at: number, from: number, to: number): number =>
    Math.max(
      ...samples.filter(({ second }) => second >= from && second < to).map(({ mib }) => mib[at] ?? NaN),
    );
  return {
    amiss,
    memory: daemons.map(([of], at) => ({
      of,
      grownMiB: peak(at, 0, liveSeconds) - (idleMiB[at] ?? NaN),
      growth: peak(at, middle, liveSeconds) / peak(at, warmUpSeconds, middle),
    })),
  };
}
