/** A Docker Engine of its own for a test: private data, network and mounts; a busybox image; gone afterwards. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdtempSync,
  mkdirSync,
  copyFileSync,
  rmSync,
  symlinkSync,
  openSync,
  closeSync,
  readFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Engine } from '../../src/controlplane/dockerd/client.js';
import { writeEngineConfig } from '../support/engine-config.js';

const run = promisify(execFile);
const startMsMax = 60_000;

export interface TestDockerd {
  readonly engine: Engine;
  /** `unix://…` of its socket. */
  readonly address: string;
  /** Its process, for its network namespace. */
  readonly pid: number;
  /** A tmpfs that it sees, too. */
  readonly tasksDir: string;
  /** Where it looks for plugins' sockets. */
  readonly pluginDir: string;
  /** The docker CLI against it; gives what it printed. */
  docker(...args: string[]): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

const ownNetwork = ['--bridge=none', '--iptables=false'];

/** Where the host's ids of a {@link startRemappedDockerd}'s containers begin, and how many there are. */
export const remapped = { uid: 300_000, gid: 400_000, count: 65_536 };

/** Starts one whose containers have user namespaces. Nothing of it is written to this machine's /etc, where an engine looks for ids. */
export const startRemappedDockerd = (): Promise<TestDockerd> =>
  startDockerd(
    [...ownNetwork, '--userns-remap=daemon:daemon'],
    [
      'etc=$(dirname "$0")/etc && cp -a /etc "$etc"',
      `echo daemon:${remapped.uid}:${remapped.count} >"$etc/subuid"`,
      `echo daemon:${remapped.gid}:${remapped.count} >"$etc/subgid"`,
      'mount --bind "$etc" /etc',
    ].join(' && '),
  );

/**
 * Starts a dockerd in namespaces of its own; `extra` are more of its options.
 * @param prepare a script that is run before it, in its namespaces; `$0` is in its directory
 */
export async function startDockerd(extra = ownNetwork, prepare = ':'): Promise<TestDockerd> {
  const dir = mkdtempSync(join(tmpdir(), 'skep-agent-'));
  const tasksDir = mkdtempSync('/dev/shm/skep-tasks-');
  // As on a host: whoever is nobody there may pass through.
  for (const each of [dir, tasksDir]) chmodSync(each, 0o711);
  const address = `unix://${dir}/docker.sock`;
  const log = openSync(join(dir, 'log'), 'w');
  const options = [
    `--data-root=${dir}/data`,
    `--exec-root=${dir}/exec`,
    `--pidfile=${dir}/pid`,
    `--config-file=${writeEngineConfig(dir)}`,
    `--host=${address}`,
    ...extra,
  ];
  // Plugins are looked for in /run/docker/plugins alone; /run is this engine's own, and so are its lock files.
  mkdirSync(join(dir, 'plugins'));
  const own =
    'ip link set lo up && mount -t tmpfs tmpfs /run && mkdir /run/docker && ln -s "$0" /run/docker/plugins';
  const script = `${own} && ${prepare} && exec dockerd "$@"`;
  const child = spawn('unshare', ['-mn', 'sh', '-c', script, join(dir, 'plugins'), ...options], {
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const exited = once(child, 'exit');
  const engine = new Engine(address);
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
    for (const each of [dir, tasksDir]) rmSync(each, { recursive: true, force: true });
  };
  const deadlineMs = Date.now() + startMsMax;
  for (;;) {
    const up = await engine.info().then(
      () => true,
      () => false,
    );
    if (up) break;
    if (Date.now() > deadlineMs || child.exitCode !== null) {
      const said = readFileSync(join(dir, 'log'), 'utf8').slice(-2_000);
      await stop();
      throw new Error(`dockerd did not start:\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  importBusybox(address, dir);
  return {
    engine,
    address,
    pid: child.pid ?? 0,
    tasksDir,
    pluginDir: join(dir, 'plugins'),
    docker: async (...args) => (await run('docker', ['-H', address, ...args])).stdout.trim(),
    [Symbol.asyncDispose]: stop,
  };
}

function importBusybox(address: string, dir: string): void {
  const root = join(dir, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  for (const name of ['tmp', 'etc', 'proc', 'sys', 'dev']) mkdirSync(join(root, name));
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of [
    'sh',
    'sleep',
    'echo',
    'cat',
    'trap',
    'ip',
    'hostname',
    'env',
    'true',
    'false',
    'date',
  ])
    symlinkSync('busybox', join(root, 'bin', applet));
  const archive = execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 64 * 1024 * 1024 });
  execFileSync('docker', ['-H', address, 'import', '-', 'busybox:test'], {
    input: archive,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
}
