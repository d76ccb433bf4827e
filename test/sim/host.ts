/**
 * One machine: an engine, a dataplane and a member of etcd that outlive its daemon, and the daemon: the product's agent, and while the
 * node is a manager the product's manager, on what this directory has for machines, etcd and network.
 */
import { credentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import { startAgent } from '../../src/controlplane/agent/agent.js';
import type { Dataplane } from '../../src/controlplane/agent/node-network.js';
import type { PeerListener } from '../../src/controlplane/agent/silence.js';
import { createManagerCore } from '../../src/controlplane/node/manager-core.js';
import type { ManagerCore } from '../../src/controlplane/node/manager-core.js';
import type { ManagerAddress, SessionMessage } from '../../src/controlplane/rpc/messages.js';
import { dispatcherDefinition, managersDefinition } from '../../src/controlplane/rpc/proto.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import type { DataKey } from '../../src/controlplane/store/seal.js';
import { Sealer } from '../../src/controlplane/store/seal.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { OutsideError } from '../../src/model/errors.js';
import type { NodeId, TaskId } from '../../src/model/ids.js';
import type { NodeRole } from '../../src/model/objects.js';
import { seededBytes } from '../support/cluster-objects.js';
import type { Chance } from './chance.js';
import type { EngineEvents } from './engine.js';
import { SimEngine } from './engine.js';
import type { SimEtcd } from './etcd.js';
import type { SimHearing } from './hearing.js';
import type { ServerCall, SimNetwork } from './network.js';
import { sessionClient } from './network.js';
import { SimPayloadFiles } from './payload-files.js';
import { Process } from './time.js';
import type { Time } from './time.js';

export const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' });
export const clusterId = 'cluster';
export const epochMs = Date.UTC(2026, 0, 1);

export interface HostParts {
  readonly time: Time;
  readonly chance: Chance;
  readonly etcd: SimEtcd;
  readonly network: SimNetwork;
  readonly hearing: SimHearing;
  readonly dataKey: DataKey;
  readonly events: EngineEvents;
  /** A bug, or something that nobody provided for. */
  readonly onBug: (err: unknown) => void;
  readonly say: (line: string) => void;
}

/** A manager that serves. */
export interface RunningManager {
  readonly store: EtcdStore;
  readonly core: ManagerCore;
  readonly stop: () => Promise<void>;
}

export class SimHost {
  readonly engine: SimEngine;
  readonly #dataplane: SimDataplane;
  readonly #files = new Map<string, string>();
  /** Of tasks' secrets and configs. */
  readonly payloadFiles: SimPayloadFiles;
  readonly #sealer: Sealer;
  process: Process | undefined;
  agent: Agent | undefined;
  manager: RunningManager | undefined;
  /** What its certificate says. */
  role: NodeRole;
  isPowered = true;
  /** The node is no more of the cluster. */
  isGone = false;
  /** How far its wall clock is off. */
  wallOffsetMs = 0;
  #managers: readonly ManagerAddress[];
  #boots = 1;
  /** What becomes of the manager half, one thing after another. */
  #managing: Promise<void> = Promise.resolve();

  constructor(
    readonly name: string,
    role: NodeRole,
    managers: readonly string[],
    private readonly parts: HostParts,
  ) {
    this.role = role;
    this.#sealer = new Sealer(parts.dataKey);
    this.#managers = managers.map((host) => ({ nodeId: host, addr: `${host}:2377` }));
    this.engine = new SimEngine(name, parts.time, parts.chance, parts.events);
    this.payloadFiles = new SimPayloadFiles(parts.chance);
    this.#dataplane = new SimDataplane(name, parts, this.engine);
  }

  /** Whom its agent can turn to. */
  get knownManagers(): readonly string[] {
    return this.#managers.map(({ nodeId }) => nodeId);
  }

  get nodeId(): NodeId {
    return this.name as NodeId;
  }

  /** The daemon starts. */
  start(): void {
    const { time, chance, network, onBug } = this.parts;
    const daemon = new Process(time, () => epochMs + time.nowMs + this.wallOffsetMs);
    this.process = daemon;
    const random = seededBytes(chance.int(2 ** 31));
    this.agent = startAgent({
      nodeId: this.nodeId,
      engine: this.engine.of(daemon),
      dataplane: this.#dataplane.of(daemon),
      facts: async () => ({ balancer: 'ebpf', esp: true, espEpoch: this.#boots }),
      credentials: () => credentials.createInsecure(),
      managers: this.#managers,
      dataPathAddr: '',
      sealer: this.#sealer,
      clock: daemon.clock,
      random,
      log: log.child({ host: this.name }),
      onMessage: (message) => this.#take(message),
      swarmDir: '/',
      tasksDir: '/',
      bootId: `boot${this.#boots}`,
      host: {
        routes: async () => [],
        nameservers: async () => ['192.0.2.250'],
        files: {
          read: async (path) => {
            const text = this.#files.get(path);
            if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
            return text;
          },
          write: async (path, text) => {
            await daemon.clock.sleep(chance.between(0.5, 10));
            this.#files.set(path, text);
          },
        },
        payloadFiles: this.payloadFiles.of(daemon),
        watchProcess: (pid, onEnd) => this.engine.watchProcess(daemon, pid, onEnd),
        connect: (addr) =>
          sessionClient(
            network.connect(this.name, daemon, addr, () => ({ nodeId: this.name, role: this.role })),
            dispatcherDefinition,
          ),
      },
    });
    this.#managing = Promise.resolve();
    if (this.role === 'manager') this.#manage(daemon, () => this.#startManager(daemon, random));
    this.#managing.catch(onBug);
  }

  kill(): void {
    this.process?.kill();
    this.process = undefined;
    this.agent = undefined;
    this.manager = undefined;
  }

  /** The power goes. */
  powerOff(): void {
    this.kill();
    this.isPowered = false;
    this.#boots += 1;
    this.engine.reboot();
    this.#dataplane.reboot();
    this.payloadFiles.reboot();
    this.parts.etcd.stop(this.name);
  }

  powerOn(): void {
    this.isPowered = true;
    this.parts.etcd.start(this.name);
    this.start();
  }

  /** Its node was removed: the machine is put to another use. */
  leave(): void {
    this.isGone = true;
    this.kill();
    this.parts.etcd.stop(this.name);
  }

  /** Whatever befell it is over. */
  recover(): void {
    if (this.isGone) return;
    if (!this.isPowered) this.powerOn();
    this.parts.etcd.start(this.name);
    if (!this.process) this.start();
    this.process?.resume();
  }

  #take(message: SessionMessage): void {
    const { process: daemon } = this;
    if (!daemon) return;
    if (message.managers.length > 0) this.#managers = message.managers;
    const role = message.role as NodeRole;
    if (role === this.role) return;
    this.role = role;
    this.parts.say(`${this.name} is to be a ${role}`);
    const random = seededBytes(this.parts.chance.int(2 ** 31));
    this.#manage(daemon, async () => {
      if (role === 'manager') return this.#startManager(daemon, random);
      const { manager } = this;
      this.manager = undefined;
      await manager?.stop();
      this.parts.etcd.stop(this.name);
    });
    this.#managing.catch(this.parts.onBug);
  }

  #manage(daemon: Process, work: () => Promise<void>): void {
    this.#managing = this.#managing.then(async () => {
      if (!daemon.isDead) await work();
    });
  }

  /** Until it serves, however long that takes, or the node is to be a worker again. */
  async #startManager(daemon: Process, random: (size: number) => Uint8Array): Promise<void> {
    const { etcd, chance } = this.parts;
    while (this.role === 'manager') {
      try {
        if (!etcd.has(this.name)) await this.#join(daemon);
        etcd.start(this.name);
        await this.#openManager(daemon, random);
        this.parts.say(`${this.name} serves as a manager`);
        return;
      } catch (err) {
        if (!(err instanceof Error) || err.name === 'AssertionError') throw err;
        log.debug({ host: this.name, err }, 'cannot manage yet');
        await daemon.clock.sleep(chance.between(200, 1_000));
      }
    }
  }

  /** A member that was removed ends; its manager asks to be taken in again, if its node still is to be one. */
  async #watchMember(
    daemon: Process,
    manager: RunningManager,
    random: (size: number) => Uint8Array,
  ): Promise<void> {
    while (this.manager === manager) {
      await daemon.clock.sleep(1_000);
      if (this.manager !== manager || this.parts.etcd.has(this.name)) continue;
      this.manager = undefined;
      this.#manage(daemon, async () => {
        await manager.stop();
        if (this.role === 'manager' && !this.manager) await this.#startManager(daemon, random);
      });
      this.#managing.catch(this.parts.onBug);
    }
  }

  async #join(daemon: Process): Promise<void> {
    const { network, chance } = this.parts;
    const { addr } = chance.pick(this.#managers.filter(({ nodeId }) => nodeId !== this.name));
    const identity = () => ({ nodeId: this.name, role: this.role });
    const connection = network.connect(this.name, daemon, addr, identity);
    try {
      await connection.unary(managersDefinition, 'Join', {
        peerUrl: `https://${addressOfHost(this.name)}:2380`,
      });
    } finally {
      connection.close();
    }
    this.parts.etcd.name(`https://${addressOfHost(this.name)}:2380`, this.name);
  }

  async #openManager(daemon: Process, random: (size: number) => Uint8Array): Promise<void> {
    const { etcd, network, dataKey, onBug } = this.parts;
    const client = etcd.clientOf(this.name, daemon);
    const sealer = new Sealer(dataKey);
    const { clock } = daemon;
    const hostLog = log.child({ host: this.name });
    const store = await EtcdStore.open({ client, sealer, log: hostLog, clock, onCrash: onBug });
    const core = createManagerCore({
      ...{ store, client, leases: client, members: client.members, sealer, dataKey, clock, random },
      nodeId: this.nodeId,
      addr: `${this.name}:2377`,
      security: {
        peerOf: (call) => ({
          ...(call as unknown as ServerCall).identity,
          clusterId,
          certificate: Buffer.alloc(0),
        }),
        isTrusted: () => true,
        shownIdentity: async () => undefined,
        issueCertificate: () => {
          throw new Error('nobody asks for certificates here');
        },
      },
      log: hostLog,
    });
    const listener = { process: daemon, services: core.services.services };
    network.listen(this.name, listener);
    const stop = new AbortController();
    const manager: RunningManager = {
      store,
      core,
      stop: async () => {
        network.silence(this.name, listener);
        stop.abort(new Error('the manager is closing'));
        await running;
        await store.close();
      },
    };
    this.manager = manager;
    const running = core.run(stop.signal);
    running.catch(onBug);
    void this.#watchMember(daemon, manager, random);
  }
}

export const addressOfHost = (host: string): string => `192.0.2.${/\d+$/.exec(host)?.[0] ?? '0'}`;

/** A dataplane that takes states and needs its time to program them. */
class SimDataplane {
  #state: NodeNetworkState | undefined;
  #programmed = -1;
  #changed = new Set<() => void>();

  private readonly time: Time;
  private readonly chance: Chance;

  constructor(
    private readonly name: string,
    private readonly parts: Pick<HostParts, 'time' | 'chance' | 'hearing'>,
    private readonly engine: SimEngine,
  ) {
    this.time = parts.time;
    this.chance = parts.chance;
  }

  /** Its state is on disk. */
  reboot(): void {
    this.#programmed = -1;
    this.#program();
  }

  of(daemon: Process): Dataplane & PeerListener {
    const { hearing } = this.parts;
    return {
      waitSilent: (known, signal) =>
        new Promise((resolve, reject) => {
          if (this.chance.fault(0.01)) {
            daemon.in(this.chance.latencyMs(), () => reject(new OutsideError('the dataplane is away', true)));
            return;
          }
          const look = (): void => {
            const silent = hearing.silentTo(this.name);
            if (known?.size === silent.size && [...silent].every((name) => known.has(name))) return;
            leave();
            daemon.in(this.chance.latencyMs(), () => resolve([...silent]));
          };
          const onAbort = (): void => {
            leave();
            reject(signal.reason as Error);
          };
          const forget = hearing.onChange(look);
          const leave = (): void => {
            forget();
            signal.removeEventListener('abort', onAbort);
          };
          if (signal.aborted) return onAbort();
          signal.addEventListener('abort', onAbort, { once: true });
          daemon.onEnd(leave);
          look();
        }),
      setState: (state) =>
        new Promise((resolve, reject) => {
          daemon.in(this.chance.latencyMs(), () => {
            if (this.chance.fault(0.01)) return reject(new OutsideError('the dataplane is away', true));
            this.#state = state;
            this.#program();
            resolve();
          });
        }),
      waitProgrammed: ({ revision, taskId }, signal) =>
        new Promise((resolve, reject) => {
          if (this.chance.fault(0.01)) {
            daemon.in(this.chance.latencyMs(), () => reject(new OutsideError('the dataplane is away', true)));
            return;
          }
          const holds = (): boolean =>
            this.#programmed >= revision && (taskId === undefined || this.#hasSandbox(taskId));
          const leave = (): void => {
            this.#changed.delete(look);
            signal.removeEventListener('abort', onAbort);
          };
          const onAbort = (): void => {
            leave();
            reject(signal.reason as Error);
          };
          const look = (): void => {
            if (!holds()) {
              // Sandboxes come and go without a word to anybody.
              if (taskId !== undefined) this.time.in(100, () => this.#changed.has(look) && look());
              this.#changed.add(look);
              return;
            }
            leave();
            daemon.deliver(() => resolve(undefined));
          };
          if (signal.aborted) return onAbort();
          signal.addEventListener('abort', onAbort, { once: true });
          daemon.onEnd(leave);
          look();
        }),
    };
  }

  #hasSandbox(taskId: TaskId): boolean {
    return this.engine.runs(taskId);
  }

  #program(): void {
    const revision = this.#state?.revision ?? -1;
    this.time.in(
      this.chance.fault(0.02) ? this.chance.between(500, 8_000) : this.chance.between(2, 60),
      () => {
        this.#programmed = Math.max(this.#programmed, revision);
        for (const look of [...this.#changed]) look();
      },
    );
  }
}
