/**
 * A worker as it is installed: skepd and skep-dataplane as built, in processes of their own, the dataplane with namespaces of its
 * own that it programs. Only its engine is one that has nothing.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { identityFromPem } from '../../src/controlplane/ca/node-identity.js';
import { writeMembership } from '../../src/controlplane/node/membership-file.js';
import { NodeKeys } from '../../src/controlplane/node/node-keys.js';
import { ensureBpffs } from '../../src/dataplane/ebpf/bpf.js';
import { DataplaneClient } from '../../src/dataplane/rpc/client.js';
import { checkout } from '../../src/lab/lab.js';
import type { Ip } from '../../src/model/addresses.js';
import type { ClusterId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { SimulatedCluster } from '../cluster/simulated-cluster.js';
import { machineMs } from '../harness/child.js';
import { serveSilentEngine } from './silent-engine.js';

/** Bytes. */
export interface Memory {
  readonly resident: number;
  /** The most that it ever was. */
  readonly residentMax: number;
}

const programMsMax = 300_000;
const endMsMax = 20_000;
const pollMs = 50;

export class Worker implements AsyncDisposable {
  readonly #undo = new CleanupStack();

  private constructor(
    private readonly client: DataplaneClient,
    private readonly daemons: Readonly<Record<string, ChildProcess>>,
  ) {}

  /** @param name begins what it has in the kernel's file systems, unique on this machine. @param index see {@link SimulatedCluster.idleNode} */
  static async start(cluster: SimulatedCluster, name: string, index: number): Promise<Worker> {
    const { dataPathAddr, ...keys } = cluster.idleNode(index);
    await using undo = new CleanupStack();
    const directory = await mkdtemp(join(tmpdir(), `${name}-`));
    undo.defer(() => rm(directory, { recursive: true, force: true }));
    const [stateDir, runDir] = [join(directory, 'state'), join(directory, 'run')];
    await mkdir(runDir, { recursive: true });
    const swarmDir = join(stateDir, 'swarm');
    const host = dataPathAddr as Ip;
    await new NodeKeys(swarmDir).saveIdentity(
      identityFromPem(keys.certPem, keys.keyPem, keys.rootPem),
      undefined,
    );
    await writeMembership(swarmDir, {
      ...{ clusterId: cluster.clusterId as ClusterId, nodeId: keys.nodeId, role: 'worker' },
      addresses: {
        ...{ listenHost: host, listenPort: 2377, advertiseHost: host, advertisePort: 2377 },
        dataPathHost: host,
      },
      managers: [{ nodeId: '', addr: cluster.addr }],
    });
    const engine = join(directory, 'engine.sock');
    undo.defer(await serveSilentEngine(engine));
    const pins = `/sys/fs/bpf/${name}`;
    ensureBpffs(pins);
    undo.defer(() => rm(pins, { recursive: true, force: true }));
    const env = {
      ...{ PATH: process.env['PATH'], SKEP_STATE_DIR: stateDir, SKEP_RUN_DIR: runDir },
      ...{
        SKEP_ENGINE: `unix://${engine}`,
        SKEP_BPF_DIR: pins,
        SKEP_LOG: process.env['SKEP_LOG'] ?? 'error',
      },
    };
    const own = [
      'mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/docker/plugins && ip link set lo up',
      'ip link add eth0 type veth peer name peer0 && ip link set eth0 up && ip link set peer0 up',
      `ip addr add ${dataPathAddr}/16 dev eth0`,
      `exec ${join(checkout, 'bin/skep-dataplane')}`,
    ].join(' && ');
    const begin = (command: string, args: readonly string[]): ChildProcess => {
      const child = spawn(command, args, { env, stdio: ['ignore', 'inherit', 'inherit'] });
      undo.defer(() => end(child));
      return child;
    };
    const dataplane = begin('unshare', ['--net', '--mount', 'sh', '-c', own]);
    const client = new DataplaneClient(join(runDir, 'dataplane.sock'));
    undo.defer(async () => client.close());
    const skepd = begin(join(checkout, 'bin/skepd'), []);
    const worker = new Worker(client, { skepd, 'skep-dataplane': dataplane });
    worker.#undo.use(undo.move());
    return worker;
  }

  /** Resolves once its kernel holds that revision of the store, or a later one. @returns when, by {@link machineMs} */
  async programmed(revision: number): Promise<number> {
    const late = AbortSignal.timeout(programMsMax);
    for (;;)
      try {
        await this.client.waitProgrammed({ revision }, late);
        return machineMs();
      } catch (err) {
        // Not there yet.
        if (late.aborted) throw err;
        await delay(pollMs);
      }
  }

  /** Of each of its daemons, by name. */
  async memory(): Promise<ReadonlyMap<string, Memory>> {
    const rows = Object.entries(this.daemons).map(async ([name, { pid }]): Promise<[string, Memory]> => {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      const bytes = (field: string): number =>
        1024 * Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
      return [name, { resident: bytes('VmRSS'), residentMax: bytes('VmHWM') }];
    });
    return new Map(await Promise.all(rows));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), endMsMax);
  await ended;
  clearTimeout(late);
}
