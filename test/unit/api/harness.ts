/**
 * A real API server on a temporary unix socket, in front of a memory store, a membership that the test sets and an
 * engine that the test plays.
 */
import { createServer, request } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { SwarmEvents } from '../../../src/controlplane/api/swarm-events.js';
import { createApiServer } from '../../../src/controlplane/api/server.js';
import type { AnsweredRequest } from '../../../src/controlplane/api/server.js';
import type {
  InitRequest,
  JoinRequest,
  Membership,
  RestoreRequest,
  SwarmControl,
} from '../../../src/controlplane/api/swarm-control.js';
import type { Backup } from '../../../src/controlplane/backup/backup-content.js';
import type { AttachControl } from '../../../src/controlplane/attach-control.js';
import type { ListenSettings } from '../../../src/controlplane/api/listen-settings.js';
import type { OpenTunnel } from '../../../src/controlplane/tunnels.js';
import type { ReadLogs } from '../../../src/controlplane/task-logs.js';
import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import { SkepError } from '../../../src/model/errors.js';
import type { ClusterId, NetworkId, NodeId, TaskId, Vni } from '../../../src/model/ids.js';
import type { NodeDescription, Service, Task } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import type { Clock } from '../../../src/runtime/clock.js';
import type { Log } from '../../../src/runtime/log.js';
import { clusterSpec } from '../../support/cluster-objects.js';

export const nodeId = 'nodeaaaaaaaaaaaaaaaaaaaaa' as NodeId;
export const ingressId = 'ingressaaaaaaaaaaaaaaaaaa' as NetworkId;

export const description: NodeDescription = {
  hostname: 'node1',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: {
    nanoCpus: 2e9,
    memoryBytes: 4e9,
    genericResources: [
      { kind: 'gpu', name: 'UUID1' },
      { kind: 'ssd', count: 3 },
    ],
  },
  engine: {
    engineVersion: '20.10.24',
    labels: { zone: 'a' },
    plugins: [{ type: 'Network', name: 'overlay' }],
  },
  tlsInfo: { trustRoot: 'ROOT', certIssuerSubject: 'c3Vi', certIssuerPublicKey: 'a2V5' },
  routes: [{ destination: '10.99.0.0/24' as Cidr, device: 'eth0' }],
};

/** What a fresh single-manager cluster holds. */
export async function seed(store: Store): Promise<void> {
  await store.update((tx) => {
    tx.create('cluster', {
      id: 'clusteraaaaaaaaaaaaaaaaaa' as ClusterId,
      spec: clusterSpec,
      rootCa: { certPem: 'ROOT', keyPem: 'THE-ROOT-KEY' },
      joinTokens: { worker: 'SWMTKN-1-digest-worker', manager: 'SWMTKN-1-digest-manager' },
      defaultAddrPool: ['10.0.0.0/8' as Cidr],
      subnetSize: 24,
      dataPathPort: 4789,
    });
    tx.create('node', {
      id: nodeId,
      spec: { name: '', labels: { rack: '1' }, role: 'manager', availability: 'active' },
      role: 'manager',
      description,
      status: { state: 'ready', message: '', addr: '10.99.0.1' },
      managerStatus: { leader: true, reachability: 'reachable', addr: '10.99.0.1:2377' },
      attachments: [],
    });
    tx.create('network', {
      id: ingressId,
      spec: {
        name: 'ingress',
        labels: {},
        driver: 'overlay',
        driverOptions: {},
        ipv6: false,
        internal: false,
        attachable: false,
        ingress: true,
        ipam: { driver: '', options: {}, configs: [] },
      },
      allocation: { vni: 4096 as Vni, subnet: '10.0.0.0/24' as Cidr, gateway: '10.0.0.1' as Ip },
      addressCursor: 0,
    });
  });
}

/** A task of the service, running. */
export const taskOf = (service: Service, id: string, change: Partial<Task> = {}): Task => ({
  id: id as TaskId,
  version: 0,
  createdAtMs: 0,
  updatedAtMs: 0,
  serviceId: service.id,
  serviceName: service.spec.name,
  serviceLabels: service.spec.labels,
  slot: 1,
  nodeId,
  spec: service.spec.taskTemplate,
  specVersion: service.specVersion,
  ...(service.spec.endpointSpec ? { endpointSpec: service.spec.endpointSpec } : {}),
  desiredState: 'running',
  status: { timestampMs: 1_700_000_000_000, appliedAtMs: 0, state: 'running', message: 'started' },
  networks: [],
  ...change,
});

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  readonly json: unknown;
}

/** What the engine does with a request; `/version` and `/_ping` are answered before. */
export type EngineBehaviour = (request: IncomingMessage, reply: ServerResponse) => void;

export class FakeControl implements SwarmControl {
  readonly calls: unknown[] = [];
  state: Membership;

  constructor(readonly store: MemoryStore) {
    this.state = {
      localNodeState: 'active',
      isManager: true,
      nodeId,
      nodeAddr: '10.99.0.1',
      error: '',
      remoteManagers: [{ nodeId, addr: '10.99.0.1:2377' }],
      store,
    };
  }

  membership(): Membership {
    return this.state;
  }
  /** Set by tests of containers on the swarm's networks. */
  attachControl: AttachControl | undefined;
  attachments(): AttachControl | undefined {
    return this.attachControl;
  }
  async init(request: InitRequest): Promise<NodeId> {
    this.calls.push(['init', request]);
    return nodeId;
  }
  async join(request: JoinRequest): Promise<void> {
    this.calls.push(['join', request]);
    throw new SkepError('unavailable', 'Timeout was reached before node joined.');
  }
  async leave(force: boolean): Promise<void> {
    this.calls.push(['leave', force]);
  }
  /** Set by tests of a locked node. */
  unlockKey: Uint8Array | undefined;
  async unlock(key: Uint8Array): Promise<void> {
    if (!this.unlockKey || !Buffer.from(key).equals(this.unlockKey))
      throw new SkepError('unauthenticated', 'swarm could not be unlocked: invalid key provided');
    this.calls.push(['unlock']);
  }
  async restoreSwarm(backup: Backup, request: RestoreRequest): Promise<NodeId> {
    this.calls.push(['restore', backup, request]);
    return nodeId;
  }
  async describe(): Promise<NodeDescription> {
    return description;
  }
}

const inactive: Membership = {
  localNodeState: 'inactive',
  isManager: false,
  nodeId: '',
  nodeAddr: '',
  error: '',
  remoteManagers: null,
};

export class Harness implements AsyncDisposable {
  readonly store = new MemoryStore();
  readonly control = new FakeControl(this.store);
  /** The server's; tests of long waits shorten its sleep. */
  sleep: Clock['sleep'] = (delayMs, signal) => systemClock.sleep(delayMs, signal);
  /** Of slow clients. */
  limits: { readonly headersMsMax?: number; readonly bodyMsMax?: number } = {};
  /** Is told of requests that are over. */
  onAnswered: (request: AnsweredRequest) => void = () => undefined;
  /** As skep-dataplane names it; undefined: it does not answer. */
  balancer: string | undefined;
  engineVersion = {
    Version: '20.10.24',
    ApiVersion: '1.41',
    MinAPIVersion: '1.12',
    Os: 'linux',
    Experimental: false,
  };
  behaviour: EngineBehaviour = (_, reply) => {
    reply.writeHead(404, { 'Content-Type': 'application/json' });
    reply.end('{"message":"page not found"}\n');
  };
  lines: ReadLogs = async function* () {
    /* no output */
  };
  /** The server's. */
  log: Log = pino({ enabled: false });
  /** Beside the socket. */
  listen: ListenSettings = { tcp: [] };
  openTunnel: OpenTunnel = () => Promise.reject(new SkepError('unavailable', 'no node is available'));
  engine!: Server;
  server!: ReturnType<typeof createApiServer>;
  socketPath = '';
  engineSocket = '';
  #directory = '';

  static async start(prepare: (harness: Harness) => void = () => undefined): Promise<Harness> {
    const harness = new Harness();
    prepare(harness);
    await seed(harness.store);
    const swarmEvents = new SwarmEvents(systemClock);
    swarmEvents.follow(harness.store);
    harness.#directory = await mkdtemp(join(tmpdir(), 'skep-api-'));
    harness.socketPath = join(harness.#directory, 'api.sock');
    harness.engineSocket = join(harness.#directory, 'engine.sock');
    await harness.startEngine();
    harness.server = createApiServer({
      control: harness.control,
      engineSocket: harness.engineSocket,
      readLogs: (...all) => harness.lines(...all),
      swarmEvents,
      openTunnel: (...all) => harness.openTunnel(...all),
      balancer: async () => harness.balancer,
      log: harness.log,
      clock: { ...systemClock, sleep: (...all) => harness.sleep(...all) },
      random: (size) => randomBytes(size),
      tlsInfoOf: () => description.tlsInfo,
      changeRoots: new ClusterCa({ clock: systemClock }).changeRoots,
      ...harness.limits,
      onAnswered: (request) => harness.onAnswered(request),
      rotateToken: (token) => `${token.slice(0, token.lastIndexOf('-'))}-rotated`,
    });
    try {
      await harness.server.listen(harness.socketPath, harness.listen);
    } catch (err) {
      await harness.stopEngine();
      await rm(harness.#directory, { recursive: true, force: true });
      throw err;
    }
    return harness;
  }

  async startEngine(): Promise<void> {
    this.engine = createServer((request, reply) => {
      if (/^(\/v[\d.]+)?\/version$/.test(request.url ?? ''))
        return reply.end(JSON.stringify(this.engineVersion));
      if (request.url === '/_ping') return reply.end();
      this.behaviour(request, reply);
    });
    await new Promise<void>((resolve) => this.engine.listen(this.engineSocket, resolve));
  }

  async stopEngine(): Promise<void> {
    this.engine.closeAllConnections();
    await new Promise((resolve) => this.engine.close(resolve));
  }

  leaveSwarm(change: Partial<Membership> = {}): void {
    this.control.state = { ...inactive, ...change };
  }

  /** One request; a string body is sent as it is, anything else as JSON. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const call = request({
        socketPath: this.socketPath,
        method,
        path,
        agent: false,
        headers: { 'Content-Type': 'application/json', ...headers },
      });
      call.on('error', reject);
      call.on('response', (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const bytes = Buffer.concat(chunks);
          const text = bytes.toString('utf8');
          let json: unknown;
          try {
            json = JSON.parse(text);
          } catch {
            json = undefined;
          }
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, bytes, text, json });
        });
      });
      const isRaw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body);
      call.end(isRaw ? body : JSON.stringify(body));
    });
  }

  async createService(spec: object): Promise<string> {
    const reply = await this.call('POST', '/services/create', {
      TaskTemplate: { ContainerSpec: { Image: 'busybox' } },
      ...spec,
    });
    if (reply.status !== 201) throw new Error(reply.text);
    return (reply.json as { ID: string }).ID;
  }

  async createNetwork(name: string, more: object = {}): Promise<string> {
    const reply = await this.call('POST', '/networks/create', { Name: name, Driver: 'overlay', ...more });
    if (reply.status !== 201) throw new Error(reply.text);
    return (reply.json as { Id: string }).Id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    if (this.engine.listening) await this.stopEngine();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

export const filters = (value: object): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;

/** Keeps all that a stream says, from the first byte on. */
export class Collector {
  text = '';
  #wake: () => void = () => undefined;

  constructor(stream: NodeJS.ReadableStream) {
    stream.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
      this.#wake();
    });
  }

  /** Resolves when the text contains it. */
  async until(wanted: string): Promise<string> {
    while (!this.text.includes(wanted)) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.text;
  }
}
