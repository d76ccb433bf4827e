/** A power cut of a worker: what clients of the mesh notice, and how long its tasks are missing. */
import { setTimeout as delay } from 'node:timers/promises';
import type { MixedLoad } from '../../test/support/mixed-load.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { runningOn } from '../harness/running.js';

const image = 'skep/nginx:lab';
const manager = 'node1';
/** The one that dies, and the one that takes its task over. */
const [worker, other] = ['node3', 'node2'];
/** Has a task on each node, and is published. */
const everywhere = 'everywhere';
const port = 8080;
const rates = { new: 20, kept: 0, streams: 0 };
/** A request that is not answered in this time has failed. */
const patienceMs = 5_000;
/** How long requests go on before the cut, and after the task has moved: long enough to see that none fails any more. */
const [beforeMs, afterMs] = [2_000, 2 * patienceMs];
const deadlineMs = 180_000;

/** Milliseconds from the cut. */
export interface WorkerLoss {
  /** When the last request was sent that failed; 0 when none did; absent where no load was. */
  readonly failingMs: number | undefined;
  /** Until the worker's task ran on another node. */
  readonly movedMs: number;
}

/** @param isPublished whether requests are sent: Swarm's mesh needs IPVS */
export async function prepareWorkers(lab: ManagedLab, isPublished: boolean): Promise<void> {
  const published = isPublished ? `--publish ${port}:80` : '';
  await lab.must(
    manager,
    `service create -d --name ${everywhere} --mode global ${published} --no-resolve-image ${image}`
      .split(' ')
      .filter((word) => word !== ''),
  );
  await awaitAll(lab);
}

/** From a swarm that is well to one that is well again. */
export async function cutWorker(lab: ManagedLab, round: number, isPublished: boolean): Promise<WorkerLoss> {
  const name = `moving-${round}`;
  await lab.must(manager, `node update --label-add movable=yes ${worker}`);
  await lab.must(
    manager,
    `service create -d --name ${name} --constraint node.labels.movable==yes --no-resolve-image ${image}`,
  );
  const runsOn = (node: string): Promise<string> => lab.sh(manager, runningOn(lab, name, node), deadlineMs);
  await runsOn(worker);
  await lab.must(manager, `node update --label-add movable=yes ${other}`);
  using load = isPublished ? lab.mixedLoad(rates, everywhere, port, [manager], patienceMs) : undefined;
  if (load) await delay(beforeMs);
  await lab.cutPower(worker);
  const cut = { atMs: performance.now(), epochMs: Date.now() };
  await runsOn(other);
  const movedMs = performance.now() - cut.atMs;
  if (load) await delay(afterMs);
  const failingMs = load && (await lastFailure(load, cut.epochMs));
  await lab.restorePower(worker);
  await lab.must(manager, `service rm ${name}`);
  await lab.must(manager, `node update --label-rm movable ${other}`);
  await awaitAll(lab);
  return { movedMs, failingMs };
}

/** Ends the load. @returns milliseconds from the cut until the last request was sent that failed. @throws Error when requests still failed at its end */
async function lastFailure(load: MixedLoad, cutEpochMs: number): Promise<number> {
  const { startedAtMs, ms, failures } = await load.end();
  const lastMs = Math.max(0, ...failures.map(({ atMs }) => atMs));
  if (failures.length > 0 && ms - lastMs < patienceMs)
    throw new Error(`requests still fail ${ms - lastMs} ms before the end: ${failures.at(-1)?.reason}`);
  return Math.max(0, startedAtMs + lastMs - cutEpochMs);
}

const awaitAll = (lab: ManagedLab): Promise<void> =>
  lab.until(
    manager,
    ['service', 'ls', '--filter', `name=${everywhere}`, '--format', '{{.Replicas}}'],
    (output) => output === `${lab.nodes.length}/${lab.nodes.length}`,
    deadlineMs,
  );
