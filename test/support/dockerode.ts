/**
 * dockerode as it is: its type declarations know little of the swarm's half, and take for given what servers only may send. And
 * a watch over which of its methods are called.
 */
import Docker from 'dockerode';

/** What the API shows of anything, as far as tests look at it. */
export interface Shown {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: Readonly<Record<string, unknown>>;
  readonly Status: { readonly State: string };
}

/** Something that the SDK has a class for. */
export interface Handle {
  readonly id: string;
  inspect(options?: object): Promise<Shown>;
  remove(options?: object): Promise<void>;
}

export interface ServiceHandle extends Handle {
  update(auth: undefined, options: object): Promise<void>;
  logs(options: object): Promise<NodeJS.ReadableStream | Buffer>;
}

export interface NetworkHandle extends Handle {
  connect(options: object): Promise<void>;
  disconnect(options: object): Promise<void>;
}

/** Nodes, secrets and configs. */
export interface UpdatableHandle extends Handle {
  update(options: object): Promise<void>;
}

/** dockerode's methods of the swarm's, and those of the engine's that tests use. */
export interface Dockerode extends Pick<
  Docker,
  | (
      | 'createContainer'
      | 'getContainer'
      | 'getExec'
      | 'getImage'
      | 'getVolume'
      | 'createVolume'
      | 'run'
      | 'modem'
    )
  | ('listContainers' | 'listImages' | 'listVolumes' | 'pruneContainers' | 'pruneImages' | 'pruneVolumes')
> {
  ping(): Promise<Buffer>;
  info(): Promise<{ Swarm: { NodeID: string; LocalNodeState: string } }>;
  version(): Promise<object>;
  df(): Promise<object>;
  getEvents(options: object): Promise<NodeJS.ReadableStream & { destroy(): void }>;
  followProgress(stream: NodeJS.ReadableStream, done: () => void): void;

  swarmInit(options: object): Promise<string>;
  swarmJoin(options: object): Promise<void>;
  swarmLeave(options: object): Promise<void>;
  swarmUpdate(options: object): Promise<void>;
  swarmInspect(): Promise<Shown & { JoinTokens: { Worker: string; Manager: string } }>;

  listNodes(options?: object): Promise<Shown[]>;
  listTasks(options?: object): Promise<Shown[]>;
  listServices(options?: object): Promise<Shown[]>;
  listNetworks(options?: object): Promise<object[]>;
  listSecrets(options?: object): Promise<Shown[]>;
  listConfigs(options?: object): Promise<Shown[]>;

  createService(spec: object): Promise<ServiceHandle>;
  createNetwork(options: object): Promise<NetworkHandle>;
  createSecret(spec: object): Promise<UpdatableHandle>;
  createConfig(spec: object): Promise<UpdatableHandle>;
  pruneNetworks(options?: object): Promise<object>;

  getService(id: string): ServiceHandle;
  getTask(id: string): Pick<ServiceHandle, 'inspect' | 'logs'>;
  getNode(id: string): UpdatableHandle;
  getNetwork(id: string): NetworkHandle;
  getSecret(id: string): UpdatableHandle;
  getConfig(id: string): UpdatableHandle;
}

export const dockerode = (socketPath: string): Dockerode =>
  new Docker({ socketPath }) as unknown as Dockerode;

/** What is the engine's, a registry's, or dockerode's own. */
const notOfTheSwarm = new Set([
  ...['buildImage', 'pruneBuilder', 'createPlugin', 'listPlugins', 'getPlugin'],
  ...['checkAuth', 'createImage', 'pull', 'pullAll', 'searchImages', 'importImage', 'loadImage', 'getImages'],
  ...['runCallback', 'runPromise'],
]);

type Methods = Record<string, (...args: unknown[]) => unknown>;

/** Every method of the SDK's that belongs to the swarm, and from now on which of them were called. */
export function watchDockerode(docker: Dockerode): {
  readonly every: readonly string[];
  readonly called: ReadonlySet<string>;
} {
  const called = new Set<string>();
  const classes = {
    Docker: docker,
    Service: docker.getService('x'),
    Task: docker.getTask('x'),
    Node: docker.getNode('x'),
    Network: docker.getNetwork('x'),
    Secret: docker.getSecret('x'),
    Config: docker.getConfig('x'),
  };
  const every = Object.entries(classes).flatMap(([name, instance]) => {
    const methods = Object.getPrototypeOf(instance) as Methods;
    return Object.entries(methods).flatMap(([method, original]) => {
      if (notOfTheSwarm.has(method)) return [];
      methods[method] = function (this: unknown, ...args: unknown[]) {
        called.add(`${name}.${method}`);
        return original.apply(this, args);
      };
      return [`${name}.${method}`];
    });
  });
  return { every, called };
}
