/**
 * A cluster without machines, from one seed: the product's managers, agents and store clients on simulated machines, engines, network,
 * etcd and clocks. Users and accidents come by chance; the laws are looked at with every write, every message and every start of a
 * process. A run is one order of events: the same seed gives the same transcript.
 */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import { parseObjectKey } from '../../src/controlplane/store/keys.js';
import { newDataKey, Sealer } from '../../src/controlplane/store/seal.js';
import type { Change, Kind, Objects, Transaction, View } from '../../src/controlplane/store/store.js';
import { Snapshot } from '../../src/controlplane/store/view.js';
import { SkepError } from '../../src/model/errors.js';
import { leaderId } from '../../src/model/ids.js';
import type { Node, Secret } from '../../src/model/objects.js';
import { cluster, clusterSpec, network, node, payload, seededBytes } from '../support/cluster-objects.js';
import { Accidents } from './accidents.js';
import { Chance } from './chance.js';
import { SimEtcd } from './etcd.js';
import type { Commit } from './etcd.js';
import type { WriteOp } from '../../src/controlplane/etcd/client.js';
import { SimHearing } from './hearing.js';
import { addressOfHost, log, SimHost } from './host.js';
import { checkAnswer, checkChange, checkConverged, checkView, contentOf, Histories } from './laws.js';
import { SimNetwork } from './network.js';
import { Process, Time } from './time.js';
import { Users } from './users.js';

/** How many of the last lines of a transcript a failure shows. */
const linesShown = 40;
/** Longest that a cluster may take to come to rest once nothing fails any more; a node's silence counts twice a leader's change. */
const restMsMax = 240_000;
/** At rest: nothing was written for as long, and all is as it should be. */
const quietMs = 12_000;
const restMsStep = 1_000;

export interface WorldOptions {
  /** How long things go wrong, in ms of the simulation. */
  readonly faultsMs?: number;
  /** Breaks a part of the simulated surroundings or of the product, for a test that the laws see it. */
  readonly sabotage?: (world: World) => void;
}

export class World {
  readonly chance: Chance;
  readonly time: Time;
  readonly network: SimNetwork;
  readonly hearing: SimHearing;
  readonly etcd: SimEtcd;
  readonly hosts: SimHost[] = [];
  readonly histories = new Histories();
  readonly #dataKey;
  readonly #sealer: Sealer;
  readonly #users: Users;
  readonly #accidents: Accidents;
  readonly #hash = createHash('sha256');
  readonly #lines: string[] = [];
  /** What the writer of a transaction was, when it was first tried. */
  readonly #writers = new WeakMap<object, { readonly isUser: boolean; readonly term: number }>();
  #userWrites = false;
  #truth = Snapshot.empty;
  #changedAtMs = 0;
  #failure: Error | undefined;
  #steps = 0;

  private constructor(
    seed: number,
    private readonly options: WorldOptions,
  ) {
    this.chance = new Chance(seed);
    this.time = new Time(this.chance.next);
    this.#dataKey = newDataKey(1, seededBytes(seed));
    this.#sealer = new Sealer(this.#dataKey);
    this.network = new SimNetwork(this.time, this.chance);
    this.hearing = new SimHearing(this.time, this.chance, () => this.hosts, this.network.linked);
    this.network.onAnswer = (to, method, message, bytes) =>
      this.#guarded(() => checkAnswer(this.histories, to.nodeId, method, message, bytes));
    this.etcd = new SimEtcd(this.time, this.chance, this.network.linked, (commit) => this.#onCommit(commit));
    this.etcd.onTxn = (host, ops) => {
      // What is tried again was decided before.
      if (this.#writers.has(ops)) return;
      this.#noteWriter(host, ops);
      this.#guarded(() => this.#checkDown(host, ops));
    };
    this.#users = new Users(this);
    this.#accidents = new Accidents(this);
  }

  static async create(seed: number, options: WorldOptions = {}): Promise<World> {
    const world = new World(seed, options);
    await world.#begin();
    options.sabotage?.(world);
    return world;
  }

  /** The store as it is, whoever knows of it. */
  get view(): View {
    return this.#truth;
  }

  get steps(): number {
    return this.#steps;
  }

  /** Of all that has happened. */
  get transcriptHash(): string {
    return this.#hash.copy().digest('hex');
  }

  get lastLines(): readonly string[] {
    return this.#lines;
  }

  /** Things go wrong for a while, then nothing does; rejects with what broke a law. */
  async run(): Promise<void> {
    const { faultsMs = 18_000 } = this.options;
    await this.#watched(async () => {
      this.#users.begin();
      this.#accidents.begin();
      await this.#until(this.time.nowMs + faultsMs);
      this.#users.end();
      this.#accidents.end();
      await this.#rest();
    });
  }

  /** Lets so much of the cluster's time pass, and nothing happens but what the test has asked for; rejects with what broke a law. */
  async pass(ms: number): Promise<void> {
    await this.#watched(() => this.#until(this.time.nowMs + ms));
  }

  async #watched(play: () => Promise<void>): Promise<void> {
    const bugs = new Bugs((err) => this.fail(err));
    try {
      await play();
    } finally {
      bugs.end();
    }
  }

  say(line: string): void {
    const text = `${(this.time.nowMs / 1000).toFixed(3)} ${line}`;
    this.#hash.update(text);
    this.#lines.push(text);
    if (this.#lines.length > linesShown) this.#lines.shift();
    if (process.env['SKEP_TRACE']) console.log(text);
  }

  readonly fail = (err: unknown): void => {
    this.#failure ??= err instanceof Error ? err : new Error(String(err));
  };

  host(name: string): SimHost | undefined {
    return this.hosts.find((host) => host.name === name);
  }

  addHost(name: string, role: 'manager' | 'worker', managers: readonly string[]): SimHost {
    const { time, chance, etcd, network: net, hearing } = this;
    const host = new SimHost(name, role, managers, {
      ...{ time, chance, etcd, network: net, hearing, dataKey: this.#dataKey },
      events: {
        onStart: (where, taskId) => {
          this.say(`${where} starts ${taskId}`);
          this.#guarded(() => this.histories.started(this.#truth, where, taskId));
        },
        onEnd: (where, taskId, exitCode) => this.say(`${where} ended ${taskId} with ${exitCode}`),
      },
      onBug: this.fail,
      say: (line) => this.say(line),
    });
    this.hosts.push(host);
    return host;
  }

  /** A user's write through some manager that serves. Refusals are the user's to read. */
  write(what: string, body: (tx: Transaction) => void): void {
    const able = this.hosts.filter(({ manager, process }) => manager && process?.isRunning);
    if (able.length === 0) return;
    const { manager, name } = this.chance.pick(able);
    manager?.store
      .update((tx) => {
        this.#userWrites = true;
        queueMicrotask(() => (this.#userWrites = false));
        body(tx);
      })
      .then(
        () => this.say(`user at ${name}: ${what}`),
        (err: unknown) =>
          err instanceof SkepError ? this.say(`refused at ${name}: ${what}: ${err.message}`) : this.fail(err),
      );
  }

  async #begin(): Promise<void> {
    const { chance } = this;
    chance.faults = false;
    const names = Array.from({ length: 3 + chance.int(3) }, (_, at) => `node${at + 1}`);
    const managers = names.slice(0, chance.pick([1, 3, 3, 3, 5]));
    for (const [at, name] of managers.entries()) {
      if (at === 0) this.etcd.bootstrap(name, peerUrl(name));
      else this.etcd.addVoter(name, peerUrl(name));
    }
    const first = managers[0] ?? '';
    const founder = new Process(this.time, () => 0);
    const client = this.etcd.clientOf(first, founder);
    const opening = EtcdStore.open({
      client,
      sealer: this.#sealer,
      log,
      clock: founder.clock,
      onCrash: this.fail,
    });
    const store = await this.#settled(opening);
    this.#userWrites = true;
    await this.#settled(
      store.update((tx) => {
        this.#userWrites = true;
        for (const [kind, object] of firstObjects(names, managers, chance)) tx.create(kind, object as never);
      }),
    );
    this.#userWrites = false;
    await this.#settled(store.close());
    founder.kill();
    for (const name of names)
      this.addHost(name, managers.includes(name) ? 'manager' : 'worker', managers).start();
    await this.#until(this.time.nowMs + 3_000);
    chance.faults = true;
  }

  /** Everything that can run runs, and does so until it has come to rest. */
  async #rest(): Promise<void> {
    this.chance.faults = false;
    this.say('no more faults');
    this.network.healAll();
    for (const host of this.hosts) host.recover();
    const untilMs = this.time.nowMs + restMsMax;
    for (;;) {
      this.#users.undo();
      await this.#until(this.time.nowMs + restMsStep);
      const wrong = this.#wrong();
      if (wrong === undefined && this.time.nowMs - this.#changedAtMs >= quietMs) return;
      if (this.time.nowMs > untilMs)
        throw wrong ?? new Error('the cluster does not come to rest: something is written again and again');
    }
  }

  #wrong(): Error | undefined {
    try {
      checkConverged(this.#truth, this.hosts);
      return undefined;
    } catch (err) {
      return err as Error;
    }
  }

  async #until(atMs: number): Promise<void> {
    while (this.time.nowMs < atMs) await this.#step();
  }

  async #settled<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    void promise.then(
      () => (done = true),
      () => (done = true),
    );
    while (!done) await this.#step();
    return promise;
  }

  async #step(): Promise<void> {
    this.#steps += 1;
    assert(await this.time.step(), 'nothing happens any more');
    if (this.#failure) throw this.#failure;
  }

  #guarded(law: () => void): void {
    try {
      law();
    } catch (err) {
      this.fail(err);
    }
  }

  #noteWriter(host: string, ops: object): void {
    const term = this.host(host)?.manager?.store.view().get('leader', leaderId)?.version ?? 0;
    this.#writers.set(ops, { isUser: this.#userWrites, term });
  }

  /** Whoever answers its manager is not called down by it, whatever others say. */
  #checkDown(host: string, ops: readonly WriteOp[]): void {
    for (const op of ops) {
      const object = op.op === 'put' ? parseObjectKey(op.key) : undefined;
      if (op.op !== 'put' || object?.kind !== 'node') continue;
      const { id, status } = JSON.parse(this.#sealer.open(op.key, op.value).toString()) as Node;
      if (status.state !== 'down' || this.#truth.get('node', id)?.status.state === 'down') continue;
      const periodMs = this.#truth.cluster().spec.heartbeatPeriodNs / 1e6;
      const agoMs = this.time.nowMs - this.network.beatOf(id, host);
      this.say(`${host} calls ${id} down, ${agoMs} ms after its last heartbeat`);
      assert(agoMs >= periodMs, `${id} is called down ${agoMs} ms after ${host} has answered its heartbeat`);
    }
  }

  #onCommit({ member, revision, ops }: Commit): void {
    const changes = ops.flatMap((op): Change[] => {
      const object = parseObjectKey(op.key);
      if (!object) return [];
      const { kind, id } = object;
      const previous = this.#truth.get(kind, id as never);
      const current =
        op.op === 'put'
          ? {
              ...(JSON.parse(this.#sealer.open(op.key, op.value).toString()) as Objects[Kind]),
              version: revision,
            }
          : undefined;
      return [{ kind, id, ...(previous && { previous }), ...(current && { current }) } as Change];
    });
    this.#guarded(() => this.#checkOffice(member, ops, changes));
    this.#truth = this.#truth.apply(revision, changes);
    this.#changedAtMs = this.time.nowMs;
    for (const change of changes) {
      this.say(`${revision} by ${member || 'time'}: ${lineOf(change)}`);
      this.#guarded(() => checkChange(change));
      this.histories.note(change, this.time.nowMs);
      if (change.kind === 'node' && !change.current) this.host(change.id)?.leave();
    }
    this.#guarded(() => checkView(this.#truth, changes));
  }

  /** Whatever is not a user's is written by the one who leads, in the term that it believes to be in. */
  #checkOffice(member: string, ops: object, changes: readonly Change[]): void {
    if (changes.every(({ kind }) => kind === 'leader' || kind === 'manager')) return;
    const writer = this.#writers.get(ops);
    if (!writer || writer.isUser) return;
    const leader = this.#truth.get('leader', leaderId);
    assert(
      leader?.nodeId === member && leader.version === writer.term,
      `${member} wrote in term ${writer.term}, and ${leader?.nodeId} leads in term ${leader?.version}`,
    );
  }
}

const peerUrl = (host: string): string => `https://${addressOfHost(host)}:2380`;

/** As a cluster of so many nodes stands when all is well. Small subnets with the cursor near their end: addresses come round early. */
function firstObjects(
  names: readonly string[],
  managers: readonly string[],
  chance: Chance,
): readonly (readonly [Kind, object])[] {
  const encrypted = network('net2', { subnet: '10.9.1.0/26', attachable: true });
  const withoutMeta = ({ version: _v, createdAtMs: _c, updatedAtMs: _u, ...object }: Objects[Kind]): object =>
    object;
  const objects: readonly (readonly [Kind, Objects[Kind]])[] = [
    [
      'cluster',
      {
        ...cluster({ subnetSize: 26 }),
        spec: { ...clusterSpec, heartbeatPeriodNs: chance.pick([1e9, 2e9, 5e9]) },
        rootCa: { certPem: 'root', keyPem: plantedKey },
        joinTokens: { worker: `${plantedKey}-worker`, manager: `${plantedKey}-manager` },
      },
    ],
    ...names.map((name, at): readonly [Kind, Node] => {
      const role = managers.includes(name) ? 'manager' : 'worker';
      const made = node(name, { labels: { rack: `r${at % 2}` }, state: 'unknown' });
      return ['node', { ...made, role, spec: { ...made.spec, role } }];
    }),
    ['network', { ...network('ingress', { ingress: true }), addressCursor: 40 }],
    ['network', { ...network('net1', { subnet: '10.9.0.0/26', attachable: true }), addressCursor: 50 }],
    ...['secret1', 'secret2'].map((id): readonly [Kind, Secret] => [
      'secret',
      payload<'secret'>(id, contentOf(id)),
    ]),
    ['network', { ...encrypted, spec: { ...encrypted.spec, driverOptions: { encrypted: '' } } }],
  ];
  return objects.map(([kind, object]) => [kind, withoutMeta(object)]);
}

/** Stands for what no agent may ever see. */
export const plantedKey = 'planted-private-key';

function lineOf({ kind, id, previous, current }: Change): string {
  if (!current) return `${kind} ${id} removed`;
  const verb = previous ? '' : 'new ';
  if (kind === 'task') {
    const { status, desiredState, nodeId } = current;
    return `${verb}task ${id} ${status.state}/${desiredState} ${nodeId ?? ''} ${status.err ?? ''}`;
  }
  if (kind === 'node')
    return `${verb}node ${id} ${current.status.state} ${current.spec.availability} ${current.role}/${current.spec.role}`;
  if (kind === 'leader') return `leader ${current.nodeId}`;
  if (kind === 'service') {
    const { updateStatus, jobStatus } = current;
    const run = jobStatus && `run ${jobStatus.iteration} for ${jobStatus.scheduledForMs ?? 'a user'}`;
    return `${verb}service ${id} ${updateStatus?.state ?? run ?? ''}`;
  }
  return `${verb}${kind} ${id}`;
}

/** Takes what would end the process: the product has bugs end it. */
class Bugs {
  readonly #before = new Map<string, readonly NodeJS.UncaughtExceptionListener[]>();

  constructor(onBug: (err: unknown) => void) {
    for (const event of ['uncaughtException', 'unhandledRejection']) {
      this.#before.set(event, process.listeners(event as 'uncaughtException'));
      process.removeAllListeners(event);
      process.on(event, onBug);
    }
  }

  end(): void {
    for (const [event, listeners] of this.#before) {
      process.removeAllListeners(event);
      for (const listener of listeners) process.on(event, listener);
    }
  }
}
