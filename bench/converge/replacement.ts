/** A task that dies, and the one that takes its place: when the nodes' balancing follows, as clients of each node see it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { createSite, site, siteServers } from '../harness/site.js';
import type { Probes } from './probes.js';
import { lastUnanswered, usedByAll } from './probes.js';

export const replicas = 3;
const manager = 'node1';
const deadlineMs = 120_000;
const pollMs = 100;
/** How an engine names the containers that answer. */
const shortId = 12;

/** Milliseconds. */
export interface Convergence {
  /** From the death of a task until the last request was sent, to any node, that it was to answer. */
  readonly deadMs: number;
  /** From the moment its successor was healthy until each node had sent it a request. */
  readonly usedMs: number;
}

/** What is read of the API's. */
interface TaskAnswer {
  /** Absent until there is one. */
  readonly NodeID?: string;
  readonly Status: { readonly State: string; readonly ContainerStatus?: { readonly ContainerID?: string } };
}
interface NodeAnswer {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
}

interface RunningTask {
  readonly node: string;
  readonly container: string;
}

export const prepare = (lab: ManagedLab): Promise<void> =>
  createSite(lab, siteServers.nginx, replicas, '--restart-delay 1s --replicas-max-per-node 1');

/** Kills one task and waits until all is as before. @param turn which one */
export async function replace(lab: ManagedLab, probes: Probes, turn: number): Promise<Convergence> {
  const before = await runningTasks(lab);
  const victim = before[turn % before.length];
  if (!victim) throw new Error(`${lab.by}: no task runs`);
  probes.clear();
  await lab.engine(victim.node, ['kill', victim.container]);
  const diedMs = await timeOf(lab, victim, '{{json .State.FinishedAt}}', String);
  const end = performance.now() + deadlineMs;
  const known = new Set(before.map(({ container }) => container));
  let usedMs: number | undefined;
  while (usedMs === undefined) {
    if (performance.now() > end) throw new Error(`${lab.by}: no node uses the successor`);
    await delay(pollMs);
    const tasks = await runningTasks(lab);
    const successor = tasks.find(({ container }) => !known.has(container));
    if (!successor || tasks.length < replicas) continue;
    const healthyMs = await timeOf(lab, successor, '{{json .State.Health.Log}}', firstGood);
    usedMs = usedByAll(probes.all, lab.nodes.length, successor.container.slice(0, shortId), healthyMs);
  }
  return { deadMs: lastUnanswered(probes.all, diedMs), usedMs };
}

/** Tasks that are healthy: such a task is running only then. */
async function runningTasks(lab: ManagedLab): Promise<readonly RunningTask[]> {
  const filters = { service: [site.name], 'desired-state': ['running'] };
  const tasks = (await listOf(
    lab,
    `tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`,
  )) as readonly TaskAnswer[];
  const nodes = (await listOf(lab, 'nodes')) as readonly NodeAnswer[];
  const names = new Map(nodes.map(({ ID, Description }) => [ID, Description.Hostname]));
  return tasks.flatMap(({ NodeID = '', Status: { State, ContainerStatus } }) =>
    State === 'running'
      ? [{ node: names.get(NodeID) ?? '', container: ContainerStatus?.ContainerID ?? '' }]
      : [],
  );
}

/** By the API: the CLI is a large program, and starting it is much of what a guest can do in a second. */
async function listOf(lab: ManagedLab, path: string): Promise<unknown> {
  const [, body = '', status = ''] =
    /^([^]*) (\d+)$/.exec(await lab.ask(manager, 'GET', `/v1.41/${path}`)) ?? [];
  if (status !== '200') throw new Error(`${lab.by}: ${path}: ${status} ${body}`);
  return JSON.parse(body);
}

/** A time that the container's engine tells, by this machine's clock. @returns milliseconds since the epoch */
async function timeOf(
  lab: ManagedLab,
  { node, container }: RunningTask,
  format: string,
  choose: (answer: unknown) => string,
): Promise<number> {
  const told: unknown = JSON.parse(await lab.engine(node, ['inspect', '--format', format, container]));
  return Date.parse(choose(told)) - (await lab.clockAheadMs(node));
}

/** When the first check that went well had ended. */
function firstGood(log: unknown): string {
  const checks = log as readonly { readonly ExitCode: number; readonly End: string }[];
  const good = checks.find(({ ExitCode }) => ExitCode === 0);
  if (!good) throw new Error('it runs, and no check went well');
  return good.End;
}
