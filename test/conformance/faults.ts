/**
 * Three nodes with a daemon on each that is broken, two services with traffic, and somebody who breaks things at random: every
 * fault is repaired in time, whatever else is broken then, what belongs to others stays as it is, and nobody is ever answered
 * by a task of the other service. From a seed.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { differenceLine } from '../../src/dataplane/difference.js';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import type { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Scope, ScopePlan } from '../../src/dataplane/plan/node.js';
import { Reconciler } from '../../src/dataplane/reconcile/reconciler.js';
import type { MeshCluster } from '../support/mesh-cluster.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { ChainsJudge } from './fault-chains-judge.js';
import { FaultJudge, plansOf } from './fault-judge.js';
import type { Fault, Mischief } from './fault-kinds.js';
import { mischiefsIn, namedKinds } from './fault-kinds.js';
import { FaultNode } from './fault-node.js';
import type { Random } from './fault-random.js';
import { randomFrom } from './fault-random.js';
import { Strangers } from './fault-strangers.js';
import { Traffic } from './fault-traffic.js';
import type { Verdict } from './fault-verdict.js';
import { isOfChains, repairMsMax } from './fault-verdict.js';
import { FaultWorld, nodes } from './fault-world.js';

export interface FaultOptions {
  readonly engine: EngineName;
  /** Begins the names of all namespaces; unique on this kernel. */
  readonly name: string;
  readonly pinDirectory: string;
  /**
   * Its emulated processors are slower: all may take as many times as long as there a daemon's start does, and only the first
   * node has a daemon and is broken.
   */
  readonly inGuest: boolean;
  readonly seed: number;
  readonly faults: number;
  /** How far apart faults are, on average. */
  readonly gapMs: number;
}

export interface FaultReport extends Verdict {
  readonly seed: number;
  readonly daemonsKilled: number;
  /** How many times as long as on a machine all might take; 1 there. */
  readonly slowness: number;
  /** Of those that were killed, the longest until the next one had the node programmed. */
  readonly slowestRestartMs: number;
  /** Operations that the daemons counted as repairs of drift. */
  readonly driftRepairs: number;
  readonly answered: number;
  /** The longest that whoever breaks and looks was kept from looking: so much of each time may be his. */
  readonly looksLateMs: number;
  /** Answers by tasks of another service. */
  readonly wrong: readonly string[];
  /** What an observer of its own finds different in the end. */
  readonly differences: readonly string[];
  /** What others had and have no longer. */
  readonly strangersChanged: readonly string[];
}

/** Of each named kind at least. */
const namedCount = 2;
/** Beside them, a daemon is killed once in so many faults. */
const faultsPerKill = 40;
const downMsMax = 400;
const triesMax = 40;
/** From a daemon's start until it has found its node as it is to be, on a machine with two processors. */
const daemonStartMs = 1_000;

interface Place {
  readonly node: FaultNode;
  readonly plan: ScopePlan;
  readonly mischief: Mischief;
}

export async function runFaults(options: FaultOptions): Promise<FaultReport> {
  const { engine, inGuest, seed, faults, gapMs } = options;
  const broken = inGuest ? nodes.slice(0, 1) : nodes;
  const random = randomFrom(seed);
  const say = process.env['SKEP_TEST_REPORT']
    ? (line: string) => console.log(JSON.stringify({ say: `${Date.now() % 1e6} ${line}` }))
    : () => undefined;
  await using world = await FaultWorld.create(options);
  say('the world is made');
  const strangers: Strangers[] = [];
  for (const node of broken) strangers.push(await Strangers.settle(world.cluster, node, engine));
  await using undo = new CleanupStack();
  const kernels = new Map<FaultNode, LinuxKernel>();
  const places: Place[] = [];
  let slowness = 1;
  for (const number of broken) {
    const node = undo.use(new FaultNode(number, world.orderFor(number), say));
    await node.start();
    if (inGuest) slowness = Math.max(slowness, await slownessOf(node));
    say(`node${number} has its daemon, slowness ${slowness}`);
    const { kernel } = undo.use(world.cluster.openStranger(number));
    kernels.set(node, kernel);
    for (const plan of await plansOf(kernel, world.cluster.desired(number)))
      for (const mischief of mischiefsIn(plan, (vni) => world.cluster.overlayPath(number, vni)))
        places.push({ node, plan, mischief });
  }
  const kernelOf = (node: FaultNode): LinuxKernel => {
    const kernel = kernels.get(node);
    if (!kernel) throw new Error(`node${node.number} has a kernel`);
    return kernel;
  };
  const judge = undo.use(new FaultJudge(kernelOf, slowness));
  const chainsJudge = undo.use(
    new ChainsJudge(({ number }, { scope }) => pathOf(world.cluster, number, scope), slowness),
  );
  const judgeOf = (fault: Fault): FaultJudge | ChainsJudge => (isOfChains(fault) ? chainsJudge : judge);
  const traffic = undo.use(inGuest ? new Traffic(world, 1, 3 * gapMs) : new Traffic(world, 3, gapMs));
  const delays = monitorEventLoopDelay({ resolution: 10 });
  delays.enable();
  const restarts: Promise<number>[] = [];

  for (const kind of schedule(places, namedKinds(engine), faults, random)) {
    await sleep(random.integer(2 * gapMs));
    for (const { failure } of kernels.keys()) if (failure) throw failure;
    if (kind === 'kill') {
      // What was broken before a death is to be repaired by the next daemon, and that one must live to do it.
      const able = (): FaultNode[] =>
        [...kernels.keys()].filter((node) => !node.wasKilledSince(Date.now() - slowness * repairMsMax));
      while (able().length === 0) await sleep(gapMs);
      const node = random.pick(able());
      const atMs = Date.now();
      say(`node${node.number}: daemon killed`);
      const restarted = node.killAndRestart(random.integer(downMsMax)).then(() => Date.now() - atMs);
      // Told where it is awaited.
      restarted.catch(() => undefined);
      restarts.push(restarted);
      continue;
    }
    const { fault, node } = await inject(kind);
    say(`node${node.number}: ${fault.what} (${judge.pending + chainsJudge.pending} pending)`);
  }

  /** One fault of that kind wherever it can be made now. */
  async function inject(kind: string): Promise<{ fault: Fault; node: FaultNode }> {
    const candidates = places.filter(({ mischief }) => mischief.kind === kind);
    for (let tries = 0; tries < triesMax; tries++) {
      const { node, plan, mischief } = random.pick(candidates);
      const fault = mischief.make(random);
      if (!judgeOf(fault).isPending(node, fault)) {
        if (fault.endsNamespace) {
          await chainsJudge.leave(node, plan);
          judge.leave(node, plan);
        }
        try {
          if (isOfChains(fault)) await chainsJudge.inject(fault, node, plan);
          else {
            await fault.inject(kernelOf(node));
            judge.add({ fault, node, plan, atMs: Date.now() });
          }
          return { fault, node };
        } catch (err) {
          // What is to be broken is broken already, as what it hangs on is gone.
          if (!(err instanceof KernelError)) throw err;
        } finally {
          if (fault.endsNamespace) chainsJudge.back(node, plan);
        }
      }
      await sleep(gapMs);
    }
    throw new Error(`no ${kind} could be made in ${triesMax} tries, SKEP_SEED=${seed}`);
  }

  const restartMs = await Promise.all(restarts);
  const [ofTables, ofChains] = [await judge.end(), await chainsJudge.end()];
  const verdict: Verdict = {
    kinds: { ...ofTables.kinds, ...ofChains.kinds },
    late: [...ofTables.late, ...ofChains.late],
    countable: ofTables.countable + ofChains.countable,
  };
  const { answered, wrong } = await traffic.stop();
  delays.disable();
  const driftRepairs = [...kernels.keys()].reduce((sum, node) => sum + node.driftRepairs, 0);
  const differences: string[] = [];
  for (const node of kernels.keys()) {
    const observer = new Reconciler({
      kernel: kernelOf(node),
      clock: systemClock,
      log: pino({ level: 'silent' }),
    });
    observer.setDesired(world.cluster.desired(node.number));
    differences.push(...(await observer.verify()).map((one) => `node${node.number}: ${differenceLine(one)}`));
  }
  const strangersChanged = (await Promise.all(strangers.map((one) => one.changed()))).filter(
    (text) => text !== null,
  );
  return {
    ...verdict,
    seed,
    slowness,
    daemonsKilled: restartMs.length,
    slowestRestartMs: Math.max(0, ...restartMs),
    driftRepairs,
    answered,
    looksLateMs: Math.round(delays.max / 1e6),
    wrong,
    differences,
    strangersChanged,
  };
}

function pathOf(cluster: MeshCluster, node: number, scope: Scope): string {
  if (scope.kind === 'sandbox') return scope.path;
  return scope.kind === 'overlay' ? cluster.overlayPath(node, scope.vni) : cluster.places(node).hostNetns;
}

/** By a start whose program and tools are in memory already, as on a machine that runs for some time. */
async function slownessOf(node: FaultNode): Promise<number> {
  const atMs = performance.now();
  await node.killAndRestart(0);
  return Math.round(((performance.now() - atMs) / daemonStartMs) * 10) / 10;
}

/** Each named kind some times, any kind alike often else, and deaths of daemons; in random order. */
function schedule(
  places: readonly Place[],
  named: readonly string[],
  faults: number,
  random: Random,
): string[] {
  const kinds = [...new Set(places.map(({ mischief }) => mischief.kind))].sort();
  const missing = named.filter((kind) => !kinds.includes(kind));
  if (missing.length > 0) throw new Error(`nothing here can be broken as ${missing.join(', ')}`);
  const dealt = Array.from({ length: namedCount }, () => named).flat();
  while (dealt.length < faults) dealt.push(random.pick(kinds));
  for (let kills = 0; kills < Math.ceil(faults / faultsPerKill); kills++) dealt.push('kill');
  return dealt
    .map((kind) => ({ kind, at: random.integer(2 ** 30) }))
    .sort((a, b) => a.at - b.at)
    .map(({ kind }) => kind);
}
