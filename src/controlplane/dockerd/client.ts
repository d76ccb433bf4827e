/**
 * The one client of the real Docker Engine: exactly the calls that a node's agent needs, with the engine's own error
 * text and status. "Already so" answers (304, a missing thing being removed) are absorbed here; nothing is retried but what the
 * engine's network driver went away from.
 */
import type { Readable } from 'node:stream';
import Docker from 'dockerode';
import { isDriverGone } from '../../model/driver-call.js';
import { OutsideError } from '../../model/errors.js';
import { GulpingAgent } from './gulping-socket.js';
import type { IpamConfig } from './ipam-config.js';
import { ipamAddress } from './ipam-config.js';
import { LogBrokenError, readLogFrames } from './log-frames.js';

/** The engine refused, or could not be reached (`statusCode` 0, retryable). */
export class EngineError extends OutsideError {
  override readonly name = 'EngineError';

  constructor(
    message: string,
    readonly statusCode: number,
    options: { readonly cause?: unknown } = {},
  ) {
    super(message, statusCode === 0, options);
  }
}

/** A container as the task machine needs to see it. */
export interface ContainerView {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  /** created, running, paused, restarting, removing, exited or dead. */
  readonly status: string;
  readonly pid: number;
  readonly exitCode: number;
  /** Null without a health check. */
  readonly health: 'starting' | 'healthy' | 'unhealthy' | null;
  /** Ports published on the host. */
  readonly ports: readonly {
    readonly protocol: string;
    readonly targetPort: number;
    readonly publishedPort: number;
  }[];
  readonly tty: boolean;
  /** Names of the networks it is connected to. */
  readonly networks: readonly string[];
  /** DNS servers that it was created with. */
  readonly dns: readonly string[];
  /** By network: what the network's driver was told of the container's endpoint. */
  readonly driverOptions: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

/** A container as a listing has it, with the addresses that it was given: it keeps them while its process does not run. */
export interface ConnectedContainer {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `address` is empty where the engine chooses it. */
  readonly networks: readonly { readonly name: string; readonly address: string }[];
}

/** What a network takes that is made from it. */
export interface ConfigNetwork {
  readonly name: string;
  readonly enableIpv6: boolean;
  readonly ipam: NonNullable<Docker.NetworkCreateOptions['IPAM']>;
  readonly options: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** The engine's answer, as far as {@link ConfigNetwork} is read from it. */
interface InspectedNetwork {
  readonly Name: string;
  readonly ConfigOnly: boolean;
  readonly EnableIPv6: boolean;
  readonly IPAM: NonNullable<Docker.NetworkCreateOptions['IPAM']>;
  readonly Options: Readonly<Record<string, string>> | null;
  readonly Labels: Readonly<Record<string, string>> | null;
}

export interface LocalNetwork {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface LogSelection {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** -1: all. */
  readonly tail: number;
  /** Empty: from the beginning. */
  readonly since: string;
}

/** What `docker info` says of the host. */
/** As `/info` gives it: one of the two. */
export interface EngineResource {
  readonly NamedResourceSpec?: { readonly Kind?: string; readonly Value?: string };
  readonly DiscreteResourceSpec?: { readonly Kind?: string; readonly Value?: number };
}

export interface EngineInfo {
  readonly Name: string;
  readonly Architecture: string;
  readonly OSType: string;
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly ServerVersion: string;
  readonly Labels?: readonly string[] | null;
  readonly Plugins?: {
    readonly Volume?: readonly string[] | null;
    readonly Network?: readonly string[] | null;
    readonly Log?: readonly string[] | null;
    readonly Authorization?: readonly string[] | null;
  };
  readonly GenericResources?: readonly EngineResource[] | null;
  readonly SecurityOptions?: readonly string[] | null;
  readonly DockerRootDir?: string;
}

export class Engine {
  readonly #docker: Docker;
  /** For logs alone: a pause of a millisecond within a call is too much for all others. */
  readonly #logReader: Docker;
  /** Of its unix socket; undefined when it is reached by TCP. */
  readonly socketPath: string | undefined;

  /** `address` is `unix:///path` or `tcp://host:port`. */
  constructor(address: string) {
    const url = new URL(address);
    this.socketPath = url.protocol === 'unix:' ? url.pathname : undefined;
    this.#docker =
      url.protocol === 'unix:'
        ? new Docker({ socketPath: url.pathname })
        : new Docker({ host: url.hostname, port: Number(url.port) });
    // dockerode's types know nothing of agents.
    const inGulps = this.socketPath !== undefined && {
      socketPath: this.socketPath,
      agent: new GulpingAgent(this.socketPath),
    };
    this.#logReader = inGulps ? new Docker(inGulps) : this.#docker;
  }

  async info(): Promise<EngineInfo> {
    return (await call(this.#docker.info())) as EngineInfo;
  }

  /** The minor numbers of the API's versions `1.x` that the engine speaks: the oldest and the newest. */
  async apiMinors(): Promise<{ readonly min: number; readonly max: number }> {
    const { ApiVersion, MinAPIVersion } = await call(this.#docker.version());
    const [min, max] = [MinAPIVersion, ApiVersion].map((version) => Number(/^1\.(\d+)$/.exec(version)?.[1]));
    if (min === undefined || max === undefined || !(min <= max))
      throw new EngineError(`the engine speaks no version that is known: ${ApiVersion}`, 500);
    return { min, max };
  }

  /** By id or name; undefined if there is none. */
  async container(id: string): Promise<ContainerView | undefined> {
    const inspected = await orAbsent(this.#docker.getContainer(id).inspect());
    return inspected && toView(inspected);
  }

  /** The id of the container that an exec instance is of; undefined if there is no such instance. */
  async containerOfExec(execId: string): Promise<string | undefined> {
    return (await orAbsent(this.#docker.getExec(execId).inspect()))?.ContainerID;
  }

  /** Containers with all of these labels, stopped ones included. */
  async listContainers(
    labels: Readonly<Record<string, string>>,
  ): Promise<{ readonly id: string; readonly labels: Readonly<Record<string, string>> }[]> {
    const filters = { label: toLabelFilter(labels) };
    const list = await call(this.#docker.listContainers({ all: true, filters }));
    return list.map(({ Id, Labels }) => ({ id: Id, labels: Labels }));
  }

  /**
   * Containers with the networks they are connected to: all, stopped ones included.
   * @param runningWith only those that run and have all of these labels
   */
  async connectedContainers(runningWith?: Readonly<Record<string, string>>): Promise<ConnectedContainer[]> {
    const filters = runningWith && { label: toLabelFilter(runningWith) };
    const list = await call(this.#docker.listContainers(filters ? { filters } : { all: true }));
    return list.map(({ Id, Names, Labels, NetworkSettings }) => ({
      id: Id,
      // Names with a second slash are links of other containers.
      name: Names.find((name) => name.lastIndexOf('/') === 0)?.slice(1) ?? '',
      labels: Labels ?? {},
      networks: Object.entries(NetworkSettings?.Networks ?? {}).map(([name, { IPAMConfig }]) => ({
        name,
        address: ipamAddress(IPAMConfig as IpamConfig | null | undefined),
      })),
    }));
  }

  /** Gives the container's id. 409: the name is taken; 404: no such image. */
  async createContainer(options: Docker.ContainerCreateOptions): Promise<string> {
    return (await call(this.#docker.createContainer(options))).id;
  }

  async startContainer(id: string): Promise<void> {
    await throughDriver(() => unless(304, this.#docker.getContainer(id).start()));
  }

  /**
   * Sends the stop signal, after `graceSeconds` SIGKILL; resolves when the process is gone. Aborting only ends the wait:
   * the engine goes on.
   */
  async stopContainer(id: string, graceSeconds: number, signal: AbortSignal): Promise<void> {
    const options = { t: graceSeconds, abortSignal: signal };
    await orAbsent(unless(304, this.#docker.getContainer(id).stop(options)));
  }

  /** With its anonymous volumes, running or not. */
  async removeContainer(id: string): Promise<void> {
    // 409: another removal is in progress.
    await orAbsent(unless(409, this.#docker.getContainer(id).remove({ force: true, v: true })));
  }

  async connectNetwork(network: string, container: string, endpoint: Docker.EndpointSettings): Promise<void> {
    const options = { Container: container, EndpointConfig: endpoint };
    await throughDriver(() => call(this.#docker.getNetwork(network).connect(options)));
  }

  /** Also a container that does not run, or is not connected (any more). */
  async disconnectNetwork(network: string, container: string): Promise<void> {
    try {
      await orAbsent(this.#docker.getNetwork(network).disconnect({ Container: container, Force: true }));
    } catch (err) {
      // A 20.10 engine lists a container that it failed to connect, and denies it here.
      if (!(err instanceof EngineError && / is not connected to (the )?network /.test(err.message)))
        throw err;
    }
  }

  /** Ids of the containers that run and are connected to the network, by its name or id; none where there is no such network. */
  async connectedTo(network: string): Promise<string[]> {
    const inspected = (await orAbsent(this.#docker.getNetwork(network).inspect())) as
      { readonly Containers?: Readonly<Record<string, unknown>> | null } | undefined;
    return Object.keys(inspected?.Containers ?? {});
  }

  async listNetworks(label: string): Promise<LocalNetwork[]> {
    const list = await call(this.#docker.listNetworks({ filters: { label: [label] } }));
    return list.map(({ Id, Name, Driver, Labels }) => ({
      id: Id,
      name: Name,
      driver: Driver,
      labels: Labels ?? {},
    }));
  }

  /** The network of that name that only holds settings (`--config-only`). */
  async configNetwork(name: string): Promise<ConfigNetwork | undefined> {
    const found = (await orAbsent(this.#docker.getNetwork(name).inspect())) as InspectedNetwork | undefined;
    if (found?.ConfigOnly !== true || found.Name !== name) return undefined;
    const { EnableIPv6, IPAM, Options, Labels } = found;
    return { name, enableIpv6: EnableIPv6, ipam: IPAM, options: Options ?? {}, labels: Labels ?? {} };
  }

  /** By its name or id. */
  async hasNetwork(network: string): Promise<boolean> {
    return (await orAbsent(this.#docker.getNetwork(network).inspect())) !== undefined;
  }

  /** 409: a network of that name exists. */
  async createNetwork(options: Docker.NetworkCreateOptions): Promise<string> {
    return (await throughDriver(() => call(this.#docker.createNetwork(options)))).id;
  }

  /** False if the network still has endpoints. */
  async removeNetwork(id: string): Promise<boolean> {
    try {
      await orAbsent(this.#docker.getNetwork(id).remove());
      return true;
    } catch (err) {
      if (err instanceof EngineError && err.statusCode === 403) return false;
      throw err;
    }
  }

  async createVolume(options: Docker.VolumeCreateOptions): Promise<void> {
    await call(this.#docker.createVolume(options));
  }

  async hasImage(reference: string): Promise<boolean> {
    return (await orAbsent(this.#docker.getImage(reference).inspect())) !== undefined;
  }

  /** `auth` is the client's base64 X-Registry-Auth. Resolves when the image is there. */
  async pull(reference: string, auth: string | undefined, signal: AbortSignal): Promise<void> {
    const options = { abortSignal: signal, ...(auth ? { authconfig: { base64: auth } } : {}) };
    const progress = (await call(this.#docker.pull(reference, options))) as Readable;
    await new Promise<void>((resolve, reject) => {
      this.#docker.modem.followProgress(progress, (err) =>
        err ? reject(new EngineError(textOf(err), 500, { cause: err })) : resolve(),
      );
    });
  }

  /**
   * The container's log from the engine as packed lines (packed-lines.ts), some at a time; `signal` ends it. Throws EngineError if its
   * driver cannot be read, a retryable one if the engine goes away within it.
   */
  async *logs(
    container: Pick<ContainerView, 'id' | 'tty'>,
    selection: LogSelection,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void> {
    const query = {
      stdout: selection.stdout,
      stderr: selection.stderr,
      follow: selection.follow,
      timestamps: true,
      details: true,
      tail: selection.tail < 0 ? 'all' : String(selection.tail),
      ...(selection.since === '' ? {} : { since: selection.since }),
    };
    // dockerode gathers the whole log in memory unless told to follow; `_query` is what the engine gets.
    const options = { follow: true as const, abortSignal: signal, _query: query };
    const stream = (await call(this.#logReader.getContainer(container.id).logs(options))) as Readable;
    try {
      yield* readLogFrames(stream, container.tty);
    } catch (err) {
      signal.throwIfAborted();
      throw new EngineError(textOf(err), err instanceof LogBrokenError ? 500 : 0, { cause: err });
    }
  }

  /** The engine's events of containers, and of networks that they leave, one JSON text a line, until `signal` aborts or the engine goes away. */
  async containerEvents(signal: AbortSignal): Promise<Readable> {
    // None of `start`: only its own start is waited for, and looked at when that has answered.
    const ofContainers = ['die', 'destroy', 'rename', 'health_status'];
    const filters = { type: ['container', 'network'], event: [...ofContainers, 'disconnect'] };
    const options = { filters, abortSignal: signal } as Docker.GetEventsOptions;
    return (await call(this.#docker.getEvents(options))) as Readable;
  }
}

const toLabelFilter = (labels: Readonly<Record<string, string>>): string[] =>
  Object.entries(labels).map(([key, value]) => `${key}=${value}`);

type InspectInfo = Docker.ContainerInspectInfo;

function toView(info: InspectInfo): ContainerView {
  const health = info.State.Health?.Status;
  const ports = Object.entries(info.NetworkSettings.Ports ?? {}).flatMap(([port, bindings]) => {
    const [target = '', protocol = 'tcp'] = port.split('/');
    return ((bindings ?? []) as { HostPort: string }[]).map(({ HostPort }) => ({
      protocol,
      targetPort: Number(target),
      publishedPort: Number(HostPort),
    }));
  });
  return {
    id: info.Id,
    labels: info.Config.Labels ?? {},
    status: info.State.Status,
    pid: info.State.Pid,
    exitCode: info.State.ExitCode,
    health: health === 'starting' || health === 'healthy' || health === 'unhealthy' ? health : null,
    ports,
    tty: info.Config.Tty,
    networks: Object.keys(info.NetworkSettings.Networks ?? {}),
    dns: info.HostConfig.Dns ?? [],
    driverOptions: new Map(
      Object.entries(info.NetworkSettings.Networks ?? {}).map(([name, endpoint]) => [
        name,
        (endpoint as { DriverOpts?: Readonly<Record<string, string>> | null }).DriverOpts ?? {},
      ]),
    ),
  };
}

/** A driver that keeps going away, or stays away for the 30 s of each try, fails the call. */
const driverTriesMax = 3;

/** Makes a call in which the engine calls its network driver; again where that went away meanwhile: the engine then has undone it. */
async function throughDriver<T>(make: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await make();
    } catch (err) {
      if (!(err instanceof EngineError) || !isDriverGone(err.message) || tries === driverTriesMax) throw err;
    }
  }
}

/** dockerode's errors: `statusCode` and the engine's JSON; without a status the engine was not reached. */
async function call<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (err) {
    const { statusCode } = err as { statusCode?: number };
    throw new EngineError(textOf(err), statusCode ?? 0, { cause: err });
  }
}

function textOf(err: unknown): string {
  const { json, message } = err as { json?: { message?: string } | null; message?: string };
  return (json?.message ?? message?.replace(/^\(HTTP code \d+\) .*? - /, '') ?? String(err)).trim();
}

async function unless(statusCode: number, promise: Promise<unknown>): Promise<void> {
  try {
    await call(promise);
  } catch (err) {
    if (!(err instanceof EngineError) || err.statusCode !== statusCode) throw err;
  }
}

async function orAbsent<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise.catch((err: unknown) => {
      throw err instanceof EngineError ? err : new EngineError(textOf(err), statusOf(err), { cause: err });
    });
  } catch (err) {
    if (err instanceof EngineError && err.statusCode === 404) return undefined;
    throw err;
  }
}

const statusOf = (err: unknown): number => (err as { statusCode?: number }).statusCode ?? 0;
