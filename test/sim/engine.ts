/**
 * A machine's Docker Engine: containers and local networks that outlive the agent, calls that take their time, fail before or after
 * they did what they were asked, and events. Containers end by themselves now and then, and are never started twice at two places:
 * that is for the laws to see.
 */
import { Readable } from 'node:stream';
import { taskLabels } from '../../src/model/task-labels.js';
import type {
  ConnectedContainer,
  ContainerView,
  Engine,
  LocalNetwork,
} from '../../src/controlplane/dockerd/client.js';
import { EngineError } from '../../src/controlplane/dockerd/client.js';
import type { Chance } from './chance.js';
import type { Process, Time } from './time.js';

interface Container {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  status: 'created' | 'running' | 'exited';
  exitCode: number;
  /** 0 unless it runs. */
  pid: number;
  readonly networks: Map<string, string>;
}

type CreateOptions = Parameters<Engine['createContainer']>[0];
type EndpointSettings = Parameters<Engine['connectNetwork']>[2];

/** What the world wants to know of. */
export interface EngineEvents {
  /** A task's process begins. */
  onStart(host: string, taskId: string): void;
  onEnd(host: string, taskId: string, exitCode: number): void;
}

/** Images whose processes end by themselves, mostly well, begin so. */
export const jobImage = 'job:';

export class SimEngine {
  readonly #containers = new Map<string, Container>();
  readonly #networks = new Map<string, LocalNetwork>();
  readonly #streams = new Set<Readable>();
  readonly #images = new Set<string>();
  readonly #processWatchers = new Set<{ readonly pid: number; readonly end: () => void }>();
  #made = 0;
  #lastPid = 1;

  constructor(
    private readonly host: string,
    private readonly time: Time,
    private readonly chance: Chance,
    private readonly events: EngineEvents,
  ) {}

  /** Containers of tasks, by task. */
  tasks(): readonly { readonly taskId: string; readonly status: Container['status'] }[] {
    return [...this.#containers.values()].flatMap(({ labels, status }) => {
      const taskId = labels[taskLabels.taskId];
      return taskId === undefined ? [] : [{ taskId, status }];
    });
  }

  /** Users' own containers, with their addresses by network. */
  users(): readonly { readonly id: string; readonly networks: ReadonlyMap<string, string> }[] {
    return [...this.#containers.values()].filter(({ labels }) => labels[taskLabels.taskId] === undefined);
  }

  /** `docker run --network`, at the engine's end of it. */
  runUser(network: string, address: string): void {
    const id = this.#newId();
    this.#containers.set(id, {
      ...{ id, name: `user${id.slice(-6)}`, labels: {}, image: 'user' },
      ...{ status: 'running', exitCode: 0, pid: (this.#lastPid += 1) },
      networks: new Map([[network, address]]),
    });
  }

  removeUser(id: string): void {
    this.#remove(id);
  }

  /** The power goes: whatever ran has ended, and nobody hears of it. */
  reboot(): void {
    for (const container of this.#containers.values())
      if (container.status === 'running') this.#exit(container, 137, false);
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  /** Some process ends, for reasons of its own. */
  endSome(): void {
    const running = [...this.#containers.values()].filter(
      ({ status, labels }) => status === 'running' && labels[taskLabels.taskId] !== undefined,
    );
    if (running.length > 0) this.#exit(this.chance.pick(running), this.chance.is(0.5) ? 0 : 1);
  }

  /** Whether the task's process runs: its sandbox exists as long. */
  runs = (taskId: string): boolean =>
    this.tasks().some((task) => task.taskId === taskId && task.status === 'running');

  /** As the agent of this process has it. */
  of(process: Process): Engine {
    const call = <T>(work: () => T): Promise<T> => this.#call(process, work);
    const api = {
      info: () =>
        call(() => ({
          ...{ Name: this.host, Architecture: 'x86_64', OSType: 'linux', NCPU: 4, MemTotal: 2 ** 32 },
          ServerVersion: '20.10.24',
        })),
      container: (id: string) => call(() => this.#view(id)),
      listContainers: (labels: Readonly<Record<string, string>>) =>
        call(() =>
          [...this.#containers.values()]
            .filter(hasLabels(labels))
            .map(({ id, labels: all }) => ({ id, labels: all })),
        ),
      connectedContainers: (runningWith?: Readonly<Record<string, string>>) =>
        call(() =>
          [...this.#containers.values()]
            .filter((each) => !runningWith || (each.status === 'running' && hasLabels(runningWith)(each)))
            .map(({ id, name, labels, networks }): ConnectedContainer => ({
              ...{ id, name, labels },
              networks: [...networks].map(([network, address]) => ({ name: network, address })),
            })),
        ),
      createContainer: (options: CreateOptions) => call(() => this.#create(options)),
      startContainer: (id: string) => call(() => this.#start(id)),
      stopContainer: (id: string, graceSeconds: number, signal: AbortSignal) =>
        this.#stop(process, id, signal),
      removeContainer: (id: string) => call(() => this.#remove(id)),
      connectNetwork: (network: string, id: string, endpoint: EndpointSettings) =>
        call(() => {
          const container = this.#find(id);
          if (!container) throw new EngineError(`No such container: ${id}`, 404);
          if (container.networks.has(network))
            throw new EngineError(
              `endpoint with name ${container.name} already exists in network ${network}`,
              403,
            );
          this.#requireNetwork(network);
          container.networks.set(network, addressOf(endpoint));
        }),
      disconnectNetwork: (network: string, id: string) =>
        call(() => {
          this.#find(id)?.networks.delete(this.#networks.get(network)?.name ?? network);
        }),
      connectedTo: (network: string) =>
        call(() =>
          [...this.#containers.values()].flatMap(({ id, status, networks }) =>
            status === 'running' && networks.has(network) ? [id] : [],
          ),
        ),
      listNetworks: (label: string) =>
        call(() => [...this.#networks.values()].filter(({ labels }) => label in labels)),
      configNetwork: () => call(() => undefined),
      createNetwork: ({ Name, Driver, Labels }: Parameters<Engine['createNetwork']>[0]) =>
        call(() => {
          if ([...this.#networks.values()].some(({ name }) => name === Name))
            throw new EngineError(`network with name ${Name} already exists`, 409);
          const id = this.#newId();
          this.#networks.set(id, {
            id,
            name: Name,
            driver: Driver ?? '',
            labels: Labels ?? {},
          });
          return id;
        }),
      hasNetwork: (network: string) =>
        call(() => [...this.#networks.values()].some(({ id, name }) => id === network || name === network)),
      removeNetwork: (id: string) =>
        call(() => {
          const network = this.#networks.get(id);
          if (!network) return true;
          for (const { status, networks } of this.#containers.values())
            if (status === 'running' && networks.has(network.name)) return false;
          return this.#networks.delete(id);
        }),
      createVolume: () => call(() => undefined),
      hasImage: (reference: string) => call(() => this.#images.has(reference)),
      pull: (reference: string) => call(() => void this.#images.add(reference)),
      containerEvents: (signal: AbortSignal) => call(() => this.#follow(process, signal)),
      socketPath: undefined,
      containerOfExec: () => {
        throw new Error('nobody asks for containers here');
      },
      apiMinors: () => {
        throw new Error('nobody asks for containers here');
      },
      logs: () => {
        throw new Error('nobody asks for logs here');
      },
    } satisfies Record<keyof Engine, unknown>;
    return api as unknown as Engine;
  }

  #call<T>(process: Process, work: () => T): Promise<T> {
    const { chance, time } = this;
    return new Promise((resolve, reject) => {
      const away = (): void =>
        void process.in(chance.latencyMs(), () => reject(new EngineError('connect ENOENT', 0)));
      if (chance.fault(0.01)) return away();
      const answerLost = chance.fault(0.01);
      time.in(chance.latencyMs(), () => {
        // A request that was sent is worked at, whatever becomes of its sender.
        let answer: () => void;
        try {
          const result = work();
          answer = () => resolve(result);
        } catch (err) {
          const refusal = err as EngineError;
          answer = () => reject(refusal);
        }
        if (answerLost) away();
        else process.in(chance.between(0.1, 1), answer);
      });
    });
  }

  #stop(process: Process, id: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      if (signal.aborted) return onAbort();
      signal.addEventListener('abort', onAbort, { once: true });
      this.time.in(this.chance.between(5, this.chance.fault(0.1) ? 9_000 : 300), () => {
        const container = this.#find(id);
        if (container?.status === 'running') this.#exit(container, 143);
        process.in(this.chance.between(0.1, 1), () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    });
  }

  /** As the kernel tells a daemon of this machine. */
  watchProcess(process: Process, pid: number, onEnd: () => void): Disposable {
    const watcher = {
      pid,
      end: () =>
        process.in(this.chance.between(0.1, 1), () => this.#processWatchers.delete(watcher) && onEnd()),
    };
    this.#processWatchers.add(watcher);
    const stop = (): void => void this.#processWatchers.delete(watcher);
    process.onEnd(stop);
    return { [Symbol.dispose]: stop };
  }

  #create({ name = '', Labels, Image, NetworkingConfig }: CreateOptions): string {
    if (this.#find(name))
      throw new EngineError(`Conflict. The container name "/${name}" is already in use`, 409);
    const networks = Object.entries(NetworkingConfig?.EndpointsConfig ?? {});
    for (const [network] of networks) this.#requireNetwork(network);
    const id = this.#newId();
    this.#containers.set(id, {
      ...{ id, name, labels: Labels ?? {}, image: Image ?? '', status: 'created', exitCode: 0, pid: 0 },
      networks: new Map(networks.map(([network, endpoint]) => [network, addressOf(endpoint)])),
    });
    return id;
  }

  #start(id: string): void {
    const container = this.#find(id);
    if (!container) throw new EngineError(`No such container: ${id}`, 404);
    if (container.status === 'running') return;
    container.status = 'running';
    container.pid = this.#lastPid += 1;
    this.events.onStart(this.host, container.labels[taskLabels.taskId] ?? '');
    this.#tell('container', 'start', container.id);
    if (container.image.startsWith(jobImage)) this.#endSoon(container);
    else if (container.image.endsWith('bad') && this.chance.faults)
      this.time.in(this.chance.between(10, 500), () => {
        if (container.status === 'running' && this.chance.faults) this.#exit(container, 1);
      });
  }

  /** What a job's process does. */
  #endSoon(container: Container): void {
    this.time.in(this.chance.between(10, this.chance.fault(0.1) ? 9_000 : 900), () => {
      if (container.status === 'running') this.#exit(container, this.chance.fault(0.15) ? 1 : 0);
    });
  }

  #exit(container: Container, exitCode: number, told = true): void {
    container.status = 'exited';
    container.exitCode = exitCode;
    const { pid } = container;
    container.pid = 0;
    for (const watcher of [...this.#processWatchers]) if (told && watcher.pid === pid) watcher.end();
    this.events.onEnd(this.host, container.labels[taskLabels.taskId] ?? '', exitCode);
    if (told) this.#tell('container', 'die', container.id);
  }

  #remove(id: string): void {
    const container = this.#find(id);
    if (!container) return;
    if (container.status === 'running') this.#exit(container, 137);
    this.#containers.delete(container.id);
    this.#tell('container', 'destroy', container.id);
  }

  #find(id: string): Container | undefined {
    return this.#containers.get(id) ?? [...this.#containers.values()].find(({ name }) => name === id);
  }

  #view(id: string): ContainerView | undefined {
    const container = this.#find(id);
    if (!container) return undefined;
    const { labels, status, exitCode, pid, networks } = container;
    return {
      ...{ id: container.id, labels, status, exitCode, pid, health: null, ports: [], tty: false, dns: [] },
      networks: [...networks.keys()],
      driverOptions: new Map(),
    };
  }

  #requireNetwork(name: string): void {
    if (![...this.#networks.values()].some((network) => network.name === name))
      throw new EngineError(`network ${name} not found`, 404);
  }

  #follow(process: Process, signal: AbortSignal): Readable {
    const stream = new Readable({ read: () => undefined });
    const leave = (): void => {
      this.#streams.delete(stream);
      stream.destroy();
    };
    this.#streams.add(stream);
    signal.addEventListener('abort', leave, { once: true });
    process.onEnd(() => this.#streams.delete(stream));
    return stream;
  }

  #tell(type: string, action: string, id: string): void {
    // Those of a process that is paused wait in its socket; here they are lost, which is worse.
    if (this.chance.fault(0.02)) return;
    const line = `${JSON.stringify({ Type: type, Action: action, Actor: { ID: id } })}\n`;
    this.time.in(this.chance.between(0.1, 5), () => {
      for (const stream of this.#streams) stream.push(line);
    });
  }

  #newId(): string {
    return `${this.host}${(this.#made += 1)}`.replace(/\D/g, '').padStart(64, '0');
  }
}

const hasLabels =
  (wanted: Readonly<Record<string, string>>) =>
  ({ labels }: Pick<Container, 'labels'>): boolean =>
    Object.entries(wanted).every(([key, value]) => labels[key] === value);

const addressOf = (endpoint: EndpointSettings): string =>
  (endpoint.IPAMConfig as { IPv4Address?: string } | undefined)?.IPv4Address ?? '';
