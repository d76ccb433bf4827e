/**
 * No request is lost whatever happens to tasks: rolling updates, scale-downs, drains of nodes, moves to nodes that return, a removal, all under a mixed load
 * through every node, with and without tasks. Each thing has services of its own, so that they can happen side by side; what a
 * user may not do (stop the last task of a service without another) does not happen.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ensureImage, importScript } from '../../src/lab/images.js';
import type { MixedFailure } from '../../src/lab/mixed-load.js';
import { joinCommand } from '../../src/lab/swarm.js';
import { gracefulImage } from '../support/graceful-image.js';
import { TestLab, eventually } from '../support/lab.js';
import { MixedLoad } from '../support/mixed-load.js';

const lab = new TestLab({ name: 'test-drain', nodes: 3 });
const manager = 'node1';
const nodes = ['node1', 'node2', 'node3'];
/** Its tasks never move: the services whose updates are under test must not be drained as well. */
const settled = 'node.hostname==node1';
const [image] = gracefulImage.names;
const perSecond = { new: 110, kept: 110, streams: 4 };

interface Wanted {
  readonly name: string;
  readonly replicas: number | 'global';
  readonly constraint?: string;
  /** Its tasks are only stopped under load, so nobody has to know when a new one is ready; checks cost what many requests do. */
  readonly unchecked?: true;
  /** It asks for its tasks to be moved to nodes that return. */
  readonly rebalanced?: true;
}
const updated = Array.from({ length: 10 }, (_, i): Wanted => ({
  name: `updated${i}`,
  replicas: 2,
  constraint: settled,
}));
const solos = ['solo', 'alone'].map((name): Wanted => ({ name, replicas: 1, constraint: settled }));
const shrinking: Wanted = { name: 'shrinking', replicas: 11, constraint: settled, unchecked: true };
const everywhere: Wanted = { name: 'everywhere', replicas: 'global' };
const moving: Wanted = { name: 'moving', replicas: 5, rebalanced: true };
const removed: Wanted = { name: 'removed', replicas: 2, constraint: settled, unchecked: true };
const services = [...updated, ...solos, shrinking, everywhere, moving, removed];
const serviceAt = (url: string): string => services[Number(new URL(url).port) - 8000]?.name ?? '';
const portOf = (name: string): number => 8000 + services.findIndex((service) => service.name === name);

const startedMs = performance.now();
const timeline: string[] = [];
/** What was done when, for whoever has to explain a failure. */
const note = (what: string): unknown =>
  timeline.push(`${((performance.now() - startedMs) / 1000).toFixed(1)} s: ${what}`);

const docker = (words: string, deadlineMs?: number): Promise<string> =>
  lab.docker(manager, words, deadlineMs);

async function create({ name, replicas, constraint, unchecked, rebalanced }: Wanted): Promise<void> {
  const healthy = 'wget -q -O /dev/null http://127.0.0.1/';
  const checks = [
    '--health-cmd',
    healthy,
    ...'--health-interval 5s --health-timeout 20s --health-retries 10'.split(' '),
  ];
  await lab.run(manager, [
    ...'docker service create --detach --no-resolve-image --name'.split(' '),
    name,
    ...(replicas === 'global' ? ['--mode', 'global'] : ['--replicas', String(replicas)]),
    ...(rebalanced ? ['--label', 'skep.rebalance=60/minute'] : []),
    ...(constraint === undefined ? [] : ['--constraint', constraint]),
    ...['--publish', `${portOf(name)}:80`],
    ...(unchecked ? [] : checks),
    ...'--stop-grace-period 60s --update-monitor 1s'.split(' '),
    image,
  ]);
}

/** Running and wanted tasks of every service. */
const replicas = async (): Promise<Record<string, string>> => {
  const rows = (await docker('service ls --format {{.Name}}={{.Replicas}}')).split('\n');
  return Object.fromEntries(rows.map((row) => row.split('=') as [string, string]));
};

/** States of all updates, asked for once a second for whoever waits: each call of the CLI costs as much as many requests. */
class UpdateStates {
  #current: Promise<Record<string, string>> | undefined;

  async next(): Promise<Record<string, string>> {
    this.#current ??= (async () => {
      await delay(1_000);
      this.#current = undefined;
      const names = [...updated, ...solos].map(({ name }) => name);
      const format = '{{.Spec.Name}}={{with .UpdateStatus}}{{.State}}{{end}}';
      const argv = ['docker', 'service', 'inspect', '--format', format, ...names];
      const rows = await lab.run(manager, argv);
      return Object.fromEntries(rows.split('\n').map((row) => row.split('=') as [string, string]));
    })();
    return this.#current;
  }
}
const updateStates = new UpdateStates();

async function update(name: string, order: 'stop-first' | 'start-first'): Promise<void> {
  note(`${name}: ${order} update`);
  await docker(`service update --detach --no-resolve-image --force --update-order ${order} ${name}`);
  await eventually(`${order} update of ${name}`, 150_000, () => updateStates.next(), (states) => expect(states[name]).toBe('completed')); // prettier-ignore
  note(`${name}: updated`);
}

async function shrink(): Promise<void> {
  for (let count = Number(shrinking.replicas) - 1; count >= 1; count--) {
    note(`scale ${shrinking.name} to ${count}`);
    await docker(`service scale --detach ${shrinking.name}=${count}`);
    await delay(4_000);
  }
}

/** Of the tasks that are to run: those that drain are not among them. */
const everywhereStates = async (): Promise<string[]> =>
  (
    await docker(`service ps --filter desired-state=running --format {{.CurrentState}} ${everywhere.name}`)
  ).split('\n');

/** How many tasks of `moving` each node has. */
const spread = async (): Promise<number[]> => {
  const rows = await docker(`service ps --filter desired-state=running --format {{.Node}} ${moving.name}`);
  return nodes.map((node) => rows.split('\n').filter((row) => row === node).length);
};

/** Five drains: each takes a serving task of `everywhere` from its node, and those of `moving` that are there to another. */
async function drainNodes(): Promise<void> {
  for (const node of ['node2', 'node3', 'node2', 'node3', 'node2']) {
    await eventually('a task on every node', 60_000, everywhereStates, (states) =>
      expect(states.map((state) => state.split(' ')[0])).toEqual(nodes.map(() => 'Running')),
    );
    note(`drain ${node}`);
    await docker(`node update --availability drain ${node}`);
    await eventually(`${node} has nothing to run`, 20_000, () => docker(`node ps ${node} --filter desired-state=running -q`), (ids) => expect(ids).toBe('')); // prettier-ignore
    await docker(`node update --availability active ${node}`);
    note(`${node} is active again`);
  }
  await eventually('the tasks are spread again', 90_000, spread, (counts) => {
    expect(counts.reduce((sum, count) => sum + count)).toBe(moving.replicas);
    expect(Math.max(...counts) - Math.min(...counts), counts.join()).toBeLessThanOrEqual(1);
  });
  note(`${moving.name} is spread: ${(await spread()).join()}`);
}

/** What the tasks of these services went through, as the manager has it. */
async function lives(names: ReadonlySet<string>): Promise<string[]> {
  const format =
    '{{.ID}} slot {{.Slot}} made {{.CreatedAt}} is {{.Status.State}} since {{.Status.Timestamp}} to be {{.DesiredState}}: {{.Status.Message}} {{.Status.Err}}';
  return Promise.all(
    [...names].map(async (name) => {
      const ids = (await docker(`service ps -q ${name}`)).split('\n');
      return `${name}:\n${await lab.run(manager, ['docker', 'inspect', '--format', format, ...ids])}`;
    }),
  );
}

/** For whoever has to explain a failure. */
const story = async (names: ReadonlySet<string>): Promise<string> =>
  [
    ...timeline,
    ...(await lives(names).catch((err: unknown) => [String(err)])),
    ...(await Promise.all(nodes.map((node) => lab.complaints(node)))),
  ].join('\n');

test('updates, scale-downs, drains and a removal under load: no request fails', async () => {
  const archive = await ensureImage(gracefulImage);
  const load = async (node: string): Promise<string> =>
    lab.run(node, ['sh', '-c', importScript([archive])], 120_000);
  await Promise.all(nodes.map(load));
  await docker('swarm init --advertise-addr 192.168.60.1');
  for (const node of nodes.slice(1)) await lab.run(node, await joinCommand(lab.lab, manager, 'worker'));
  for (const service of services) await create(service);
  note('services created');
  await eventually('all tasks run', 120_000, replicas, (found) => {
    for (const { name, replicas: wanted } of services) {
      const count = wanted === 'global' ? nodes.length : wanted;
      expect({ name, found: found[name] }).toEqual({ name, found: `${count}/${count}` });
    }
  });

  note('load');
  const loadStartedMs = performance.now();
  using mixed = new MixedLoad(
    lab.lab,
    perSecond,
    Object.fromEntries(
      services.map(({ name }) => [name, nodes.map((_, i) => `http://192.168.60.${i + 1}:${portOf(name)}/`)]),
    ),
  );
  const disrupt = async (): Promise<void> => {
    await delay(3_000);
    const stopFirst = updated.map(({ name }) => update(name, 'stop-first'));
    const startFirst = solos.map(async ({ name }) => {
      for (let i = 0; i < 5; i++) await update(name, 'start-first');
    });
    await Promise.all([...stopFirst, ...startFirst, shrink(), drainNodes()]);
    await mixed.leave(removed.name);
    note(`rm ${removed.name}`);
    await docker(`service rm ${removed.name}`);
  };
  const [done] = await Promise.allSettled([disrupt()]);
  const { answered, failures, ms } = await mixed.end();
  const seconds = (ms: number): string => ((loadStartedMs - startedMs + ms) / 1000).toFixed(1);
  const alike = new Map<string, MixedFailure[]>();
  for (const failure of failures) {
    const what = `${failure.kind} ${failure.url}: ${failure.reason}`;
    alike.set(what, [...(alike.get(what) ?? []), failure]);
  }
  const explained = [...alike].map(([what, all]) => {
    const sentMs = all.map(({ atMs }) => atMs);
    return `${all.length} ${what}; sent from ${seconds(Math.min(...sentMs))} s to ${seconds(Math.max(...sentMs))} s`;
  });
  const failed = done.status === 'rejected' || failures.length > 0;
  const told = failed ? await story(new Set(failures.map(({ url }) => serviceAt(url)))) : '';
  console.log(JSON.stringify({ answered, ms, failures: failures.length }));
  expect(explained, told).toEqual([]);
  if (done.status === 'rejected') throw new Error(told, { cause: done.reason });
  expect((answered.new + answered.kept + answered.stream) / (ms / 1000)).toBeGreaterThanOrEqual(200);
  expect(answered.stream).toBeGreaterThanOrEqual(100);
}, 300_000);
