/**
 * A host of its own on this machine: a network and a mount namespace with an empty /run, an underlay device, a real
 * Docker Engine and a real skep-dataplane. Nothing outside is touched; all of it ends with {@link PluginHost.close}.
 */
import assert from 'node:assert';
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { access, mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { EngineChoice } from '../../src/dataplane/balancer/choose.js';
import { DataplaneClient } from '../../src/dataplane/rpc/client.js';
import { systemClock } from '../../src/runtime/clock.js';
import { writeEngineConfig } from '../support/engine-config.js';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
export const vtep = '192.0.2.1';
export const image = 'skep-test/busybox';

const setUp = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
ip link add under0 type veth peer name under1
ip addr add ${vtep}/24 dev under0
ip link set under0 up; ip link set under1 up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo ready
exec sleep infinity`;

/** Calls `probe` until it answers true; fails after `timeoutMs`. */
export async function eventually(
  what: string,
  probe: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  while (!(await probe())) {
    if (Date.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await systemClock.sleep(50);
  }
}

export class PluginHost {
  #engine: ChildProcess | undefined;
  #dataplane: ChildProcess | undefined;

  private constructor(
    readonly directory: string,
    private readonly holder: ChildProcess,
  ) {}

  static async start(): Promise<PluginHost> {
    assert(process.getuid?.() === 0, 'needs root');
    assert(existsSync(join(root, 'dist/dataplane/main.js')), 'needs `npm run build`');
    const directory = await mkdtemp(join(tmpdir(), 'skep-plugin-'));
    const holder = spawn('unshare', ['--mount', '--net', 'sh', '-c', setUp], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const host = new PluginHost(directory, holder);
    try {
      await host.startEngine();
      await host.#importImage();
    } catch (err) {
      await host.close();
      throw err;
    }
    return host;
  }

  get stateDir(): string {
    return join(this.directory, 'state');
  }

  get engineSocket(): string {
    return `unix://${this.directory}/engine.sock`;
  }

  /** Runs a command inside; rejects if it fails, with its output in the error. */
  async sh(script: string): Promise<string> {
    const [program = '', ...args] = this.#inside('sh', '-c', script);
    const { stdout } = await run(program, args, { env: this.#env, maxBuffer: 1 << 24 });
    return stdout.trim();
  }

  docker(args: string): Promise<string> {
    return this.sh(`/usr/bin/docker -H ${this.engineSocket} ${args}`);
  }

  async startEngine(): Promise<void> {
    const path = (name: string): string => join(this.directory, name);
    const config = writeEngineConfig(this.directory);
    this.#engine = await this.#spawn('engine', [
      ...['dockerd', '-H', this.engineSocket, '--data-root', path('data'), '--exec-root', path('exec')],
      ...['--pidfile', path('engine.pid'), '--bridge', 'none', '--config-file', config],
      ...['--userland-proxy=false'],
    ]);
    await eventually('the engine answers', async () => {
      assert(this.#engine?.exitCode === null, await this.log('engine'));
      return this.#succeeds(() => this.docker('version'));
    });
  }

  /** @param balancer which engine balances, as SKEP_BALANCER says it */
  async startDataplane(balancer: EngineChoice = 'auto'): Promise<void> {
    this.#dataplane = await this.#spawn('dataplane', [
      ...['env', `SKEP_BALANCER=${balancer}`],
      join(root, 'bin/skep-dataplane'),
    ]);
    await eventually('skep-dataplane answers', async () => {
      assert(this.#dataplane?.exitCode === null, await this.log('dataplane'));
      return this.#succeeds(() => this.withClient((client) => client.status()));
    });
  }

  /** Ends skep-dataplane with a signal and waits until it is gone. */
  async stopDataplane(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    const child = this.#dataplane;
    this.#dataplane = undefined;
    return child ? end(child, signal) : null;
  }

  async withClient<T>(use: (client: DataplaneClient) => Promise<T>): Promise<T> {
    const client = new DataplaneClient(join(this.directory, 'run/dataplane.sock'));
    try {
      return await use(client);
    } finally {
      client.close();
    }
  }

  log(name: string): Promise<string> {
    return readFile(join(this.directory, `${name}.log`), 'utf8');
  }

  async close(): Promise<void> {
    if (this.#engine) {
      await this.#succeeds(() => this.docker('rm -f $(/usr/bin/docker -H $SKEP_ENGINE ps -aq)'));
      await end(this.#engine, 'SIGTERM');
    }
    await this.stopDataplane('SIGTERM');
    // Mounts of the engine end with the namespace's last process.
    await end(this.holder, 'SIGKILL');
    await rm(this.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }

  get #env(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      SKEP_STATE_DIR: this.stateDir,
      SKEP_RUN_DIR: join(this.directory, 'run'),
      SKEP_ENGINE: this.engineSocket,
      // Below no mount point of the machine's: a file system of its own, which ends with this host.
      SKEP_BPF_DIR: join(this.directory, 'bpf/skep'),
      SKEP_LOG: 'debug',
    };
  }

  #inside(...command: string[]): string[] {
    return ['nsenter', '-t', String(this.holder.pid), '-m', '-n', '--', ...command];
  }

  async #spawn(name: string, command: string[]): Promise<ChildProcess> {
    const output = await open(join(this.directory, `${name}.log`), 'a');
    const [program = '', ...args] = this.#inside(...command);
    const child = spawn(program, args, { stdio: ['ignore', output.fd, output.fd], env: this.#env });
    await output.close();
    return child;
  }

  /** No registry is needed: the image is the machine's own static busybox. */
  async #importImage(): Promise<void> {
    const rootfs = join(this.directory, 'rootfs');
    await mkdir(join(rootfs, 'bin'), { recursive: true });
    await access('/bin/busybox');
    await this.sh(
      `cp /bin/busybox ${rootfs}/bin/ && for c in sh ip sleep ping cat nslookup; do ln -s busybox ${rootfs}/bin/$c; done`,
    );
    await this.sh(`tar -C ${rootfs} -c . | /usr/bin/docker -H ${this.engineSocket} import - ${image}`);
  }

  async #succeeds(attempt: () => Promise<unknown>): Promise<boolean> {
    return attempt().then(
      () => true,
      () => false,
    );
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exit = once(child, 'exit') as Promise<[number | null]>;
  child.kill(signal);
  return (await exit)[0];
}
