/**
 * The question: what does it cost to program a node's network, from nothing and for one endpoint's change, and does the change
 * cost more the more there is? A node's time is from the agent's call to the answer that its kernel holds the state.
 */
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { NetworkSize } from './network.js';
import { networkOf, withOneChange } from './network.js';
import type { Cost } from './node.js';
import { BenchNode } from './node.js';
import { allOf, opsBetween, ToolsNode } from './processes.js';
import { median } from '../../test/support/median.js';

export interface ProgramOptions {
  /** Opened for each node, with a directory of its own for pins. */
  readonly openEngine: (node: string) => BalancerEngine;
  /** Begins the names of namespaces; unique on this kernel, at most 6 characters. */
  readonly name: string;
}

export interface FromNothing extends NetworkSize, Cost {
  /** Operations, each on one object. */
  readonly objects: number;
  /** Processes of tools that do the same, and how long they take, worked out from the share that was run. */
  readonly processes: number;
  readonly processesMs: number;
  /** By the clock, and in processor time. */
  readonly timesFaster: number;
  readonly timesCheaper: number;
  /** What it takes then to see that nothing differs (`skep verify`). */
  readonly verifyMs: number;
}

export interface BenchSizes {
  /** Programmed from nothing, and looked at. */
  readonly services: number;
  /** Among which one endpoint changes; beside ten. */
  readonly among: number;
  /** Of one endpoint, for each number of services. */
  readonly changes: number;
  /** Of the tools' work that is run. */
  readonly share: number;
}

/** The sizes asked for by the environment, SKEP_BENCH_SERVICES and so on. */
export function sizesOf(otherwise: BenchSizes, environment: NodeJS.ProcessEnv): BenchSizes {
  const number = (name: keyof BenchSizes): number =>
    Number(environment[`SKEP_BENCH_${name.toUpperCase()}`] ?? otherwise[name]);
  return {
    services: number('services'),
    among: number('among'),
    changes: number('changes'),
    share: number('share'),
  };
}

/** All that this bench measures. */
export async function measure(
  options: ProgramOptions,
  { services, among, changes, share }: BenchSizes,
): Promise<{ readonly nothing: FromNothing; readonly change: OneChange }> {
  const endpoints = 10;
  const nothing = await fromNothing(options, { services, endpoints }, share);
  const change = await oneChange(
    options,
    [10, among].map((count) => ({ services: count, endpoints })),
    changes,
  );
  return { nothing, change };
}

/** Programs a network on a node that has none, and has tools do it. @param share of the tools' work that is run */
export async function fromNothing(
  { openEngine, name }: ProgramOptions,
  size: NetworkSize,
  share: number,
): Promise<FromNothing> {
  const state = networkOf(size);
  await using undo = new CleanupStack();
  const engine = openEngine(`${name}n`);
  const ops = opsBetween(null, state, engine.plan);
  const node = undo.use(await BenchNode.create({ name: `${name}n`, engine }));
  const cost = await node.program(state);
  const tools = undo.use(await ToolsNode.create(`${name}t`, [...ops.keys()]));
  const done = await tools.apply(ops, share);
  const verifyMs = await verify(node);
  const all = tools.count(ops);
  const part = done.processes / all;
  return {
    ...size,
    objects: allOf(ops).length,
    ...cost,
    processes: all,
    processesMs: done.ms / part,
    timesFaster: done.ms / part / cost.ms,
    timesCheaper: done.processorMs / part / cost.processorMs,
    verifyMs,
  };
}

/** How long it takes; throws when anything differs. */
async function verify(node: BenchNode): Promise<number> {
  const begin = performance.now();
  const differences = await node.reconciler.verify();
  if (differences.length > 0) throw new Error(`not programmed: ${JSON.stringify(differences.slice(0, 5))}`);
  return performance.now() - begin;
}

export interface OneChange {
  /** Medians of one endpoint's change, by the number of services that there are. */
  readonly among: readonly (Cost & { readonly services: number })[];
  /** Of the largest to the smallest: by the clock, and of processor time. */
  readonly ratio: number;
  readonly processorRatio: number;
  /** Processes for the same, and how long they take. */
  readonly processes: number;
  readonly processesMs: number;
}

/** An endpoint goes and comes again, in turns on nodes that have more and more services. */
export async function oneChange(
  { openEngine, name }: ProgramOptions,
  sizes: readonly NetworkSize[],
  changes: number,
): Promise<OneChange> {
  await using undo = new CleanupStack();
  const runs: { size: NetworkSize; node: BenchNode; state: ReturnType<typeof networkOf>; costs: Cost[] }[] =
    [];
  for (const [index, size] of sizes.entries()) {
    const engine = openEngine(`${name}${index}`);
    const node = undo.use(await BenchNode.create({ name: `${name}${index}`, engine }));
    const state = networkOf(size);
    await node.program(state);
    runs.push({ size, node, state, costs: [] });
  }
  for (let change = 0; change < changes; change++)
    for (const run of runs) {
      run.state = withOneChange(run.state, run.size);
      run.costs.push(await run.node.program(run.state));
    }
  for (const { node } of runs) await verify(node);
  const among = runs.map(({ size, costs }) => ({
    services: size.services,
    ms: median(costs.map(({ ms }) => ms)),
    processorMs: median(costs.map(({ processorMs }) => processorMs)),
  }));
  const ratio = (of: (cost: Cost) => number): number => {
    const [first, last] = [among[0], among.at(-1)];
    return first && last ? of(last) / of(first) : NaN;
  };
  const small = { services: 1, endpoints: sizes[0]?.endpoints ?? 1 };
  const { plan } = openEngineOnce(openEngine, `${name}p`, undo);
  const few = networkOf(small);
  const tools = undo.use(await ToolsNode.create(`${name}t`, ['host', 'ingress', 'mynet']));
  await tools.apply(opsBetween(null, few, plan));
  const done = await tools.apply(opsBetween(few, withOneChange(few, small), plan));
  return {
    among,
    ratio: ratio(({ ms }) => ms),
    processorRatio: ratio(({ processorMs }) => processorMs),
    processes: done.processes,
    processesMs: done.ms,
  };
}

function openEngineOnce(
  openEngine: ProgramOptions['openEngine'],
  node: string,
  undo: CleanupStack,
): BalancerEngine {
  const engine = undo.use(openEngine(node));
  undo.defer(() => engine.release());
  return engine;
}
