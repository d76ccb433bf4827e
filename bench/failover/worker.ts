/** A power cut of a worker: what clients of the mesh notice, and how long its tasks are missing. */
import type { ManagedLab } from '../../test/support/managed-lab.js';

const image = 'skep/nginx:lab';
const manager = 'node1';
/** The one that dies, and the one that takes its task over. */
const [worker, other] = ['node4', 'node3'];
/** Has a task on each node, and is published. */
const everywhere = 'everywhere';
const port = 8080;
const [perSecond, loadS, cutAfterS] = [20, 60, 2];
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
  const runsOn = async (node: string): Promise<void> =>
    lab.until(
      manager,
      ['service', 'ps', name, '--filter', 'desired-state=running', '--format', '{{.Node}} {{.CurrentState}}'],
      (output) => output.split('\n').some((row) => row.startsWith(`${node} Running`)),
      deadlineMs,
    );
  await runsOn(worker);
  await lab.must(manager, `node update --label-add movable=yes ${other}`);
  const url = `http://${lab.addressOf(manager)}:${port}/`;
  const load = isPublished ? lab.load(perSecond * loadS, perSecond, [url]) : undefined;
  await lab.sh(manager, `sleep ${cutAfterS}`);
  await lab.cutPower(worker);
  const cut = { atMs: performance.now(), epochMs: Date.now() };
  await runsOn(other);
  const movedMs = performance.now() - cut.atMs;
  const report = await load;
  const last = report?.failures.reduce((latest, { atMs }) => Math.max(latest, report.startedAtMs + atMs), 0);
  await lab.restorePower(worker);
  await lab.must(manager, `service rm ${name}`);
  await lab.must(manager, `node update --label-rm movable ${other}`);
  await awaitAll(lab);
  return { movedMs, failingMs: last && Math.max(0, last - cut.epochMs) };
}

const awaitAll = (lab: ManagedLab): Promise<void> =>
  lab.until(
    manager,
    ['service', 'ls', '--filter', `name=${everywhere}`, '--format', '{{.Replicas}}'],
    (output) => output === `${lab.nodes.length}/${lab.nodes.length}`,
    deadlineMs,
  );
