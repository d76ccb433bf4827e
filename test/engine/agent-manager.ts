/** The manager's half that an agent under test talks to, over loopback, on a store in memory. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import { expect } from 'vitest';
import type { Agent } from '../../src/controlplane/agent/agent.js';
import { startAgent } from '../../src/controlplane/agent/agent.js';
import { allocateLeg } from '../../src/controlplane/allocator/leg.js';
import type { ManagerServices } from '../../src/controlplane/dispatcher/manager-services.js';
import { createManagerServices } from '../../src/controlplane/dispatcher/manager-services.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import type { Store } from '../../src/controlplane/store/store.js';
import type { ReadLogs } from '../../src/controlplane/task-logs.js';
import { systemClock } from '../../src/runtime/clock.js';
import type { TestDockerd } from './agent-dockerd.js';
import { log, nodeId } from './agent-worker.js';
import { listen } from '../../src/controlplane/rpc/server.js';

export const random = (size: number): Uint8Array => randomBytes(size);

export class TestManager implements AsyncDisposable {
  readonly #sealer = new Sealer(newDataKey());

  private constructor(
    readonly services: ManagerServices,
    private readonly server: Server,
    private readonly address: string,
    private readonly term: AbortController,
  ) {}

  static async start(store: Store): Promise<TestManager> {
    const services = createManagerServices({
      store,
      clock: systemClock,
      random,
      log,
      peerOf: () => ({
        ...{ nodeId, role: 'worker', clusterId: store.view().cluster().id },
        certificate: Buffer.alloc(0),
      }),
      isTrusted: () => true,
      shownIdentity: () => expect.fail('nobody joins here'),
      issueCertificate: () => expect.fail('nobody joins here'),
      allocateLeg,
    });
    const server = new Server();
    for (const { definition, implementation } of services.services)
      server.addService(definition, implementation);
    const port = await listen(server, '127.0.0.1:0', ServerCredentials.createInsecure());
    const term = new AbortController();
    void services.lead(store, term.signal);
    return new TestManager(services, server, `127.0.0.1:${port}`, term);
  }

  get readLogs(): ReadLogs {
    return this.services.readLogs() ?? expect.fail('it leads');
  }

  /**
   * The node's agent, as after a start.
   * @param directory for what it keeps
   */
  startAgent({ engine, tasksDir }: TestDockerd, directory: string): Agent {
    return startAgent({
      facts: async () => undefined,
      nodeId,
      engine,
      sealer: this.#sealer,
      dataplane: {
        setState: async () => undefined,
        waitProgrammed: async () => undefined,
        waitSilent: (_, signal) =>
          new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => reject(signal.reason as Error)),
          ),
      },
      credentials: () => credentials.createInsecure(),
      managers: [{ nodeId: '', addr: this.address }],
      dataPathAddr: '192.0.2.1',
      swarmDir: join(directory, 'swarm'),
      tasksDir,
      bootId: 'boot1',
      clock: systemClock,
      random,
      log,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.term.abort();
    this.server.forceShutdown();
  }
}
