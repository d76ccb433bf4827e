/** The loads: what serves inside a task, what a client does for a second or two, and what that cost the kernel. */
import assert from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { resultOf } from '../harness/wrk-result.js';
import type { Contender, Path } from './contender.js';
import { paths, targetPorts } from './contender.js';

/** `connections`: a new one for each request; `kept`: requests on connections that stay; `bulk`: bytes. All a second. */
export const loads = ['connections', 'kept', 'bulk'] as const;
export type LoadName = (typeof loads)[number];

export interface Result {
  /** Connections, requests or bytes. */
  readonly perS: number;
  /**
   * Microseconds that all processors spent in the kernel (system, irq, softirq of /proc/stat: the ends' system calls are in it)
   * for each packet that crossed the client's link, either way. A packet is what the link carries in one piece: with
   * segmentation offloaded up to 64 KiB.
   */
  readonly kernelUsPerPacket: number;
}

const wrkConnections = 32;
const bulkConnections = 2;
/** What else the machine does shall weigh little. */
const priority = ['nice', '-n', '-10'];
const python = '/usr/bin/python3';
const streamProgram = join(import.meta.dirname, 'stream.py');

/** Servers in the tasks of a contender; they end with the scope. */
export async function serve(contender: Contender): Promise<AsyncDisposable> {
  await using undo = new CleanupStack();
  const directory = await mkdtemp(join(tmpdir(), 'skep-bench-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const config = join(directory, 'nginx.conf');
  await writeFile(config, nginxConfig(directory));
  for (const path of paths) {
    const netns = contender.cluster.path(contender.taskOf(path));
    const nginx = start(netns, ['nginx', '-c', config, '-e', 'stderr', '-g', 'daemon off;']);
    undo.defer(() => end(nginx));
    const stream = start(netns, [python, '-B', streamProgram, 'serve', String(targetPorts.bulk)]);
    undo.defer(() => end(stream));
    await once(stream.stdout!, 'data');
    await contender.cluster.run(
      contender.taskOf(path),
      ...[
        'curl',
        '-sS',
        '--retry',
        '50',
        '--retry-connrefused',
        '--retry-delay',
        '0',
        `http://127.0.0.1:${targetPorts.web}`,
      ],
    );
  }
  return undo.move();
}

const nginxConfig = (directory: string): string => `
user root;
pid ${directory}/nginx.pid;
worker_processes 1;
master_process off;
events { worker_connections 4096; multi_accept on; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  server { listen ${targetPorts.web} backlog=4096; location / { return 200 "skep\\n"; } }
}
`;

/** One load on one path, for `seconds`. The path must have been chosen. @throws AssertionError when anything failed */
export async function run(
  contender: Contender,
  path: Path,
  load: LoadName,
  seconds: number,
): Promise<Result> {
  const { host, port } = contender.target(path, load === 'bulk' ? 'bulk' : 'web');
  const before = await usage(contender);
  const perS =
    load === 'bulk'
      ? Number(
          await client(contender, [
            python,
            '-B',
            streamProgram,
            'take',
            host,
            String(port),
            String(bulkConnections),
            String(seconds),
          ]),
        )
      : await wrk(contender, `http://${host}:${port}/`, load === 'connections', seconds);
  const after = await usage(contender);
  assert(perS > 0, `${contender.name} ${path} ${load}: nothing came through`);
  return { perS, kernelUsPerPacket: (after.kernelUs - before.kernelUs) / (after.packets - before.packets) };
}

async function wrk(contender: Contender, url: string, anew: boolean, seconds: number): Promise<number> {
  const header = anew ? ['-H', 'Connection: close'] : [];
  const text = await client(contender, [
    'wrk',
    '-t1',
    `-c${wrkConnections}`,
    `-d${seconds}s`,
    ...header,
    url,
  ]);
  return resultOf(`${contender.name} ${url}`, text).requestsPerS;
}

const client = (contender: Contender, command: string[]): Promise<string> =>
  contender.cluster.run('client', ...priority, ...command);

interface Usage {
  readonly kernelUs: number;
  readonly packets: number;
}

/** USER_HZ, asm-generic/param.h */
const tickUs = 10_000;

async function usage(contender: Contender): Promise<Usage> {
  const stat = await readFile('/proc/stat', 'utf8');
  const [, , , system = NaN, , , irq = NaN, softirq = NaN] = (stat.split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number);
  const links = await contender.cluster.run('client', 'cat', '/proc/net/dev');
  const counters = (/^\s*eth0:(.*)$/m.exec(links)?.[1] ?? '').trim().split(/\s+/).map(Number);
  const [received = NaN, sent = NaN] = [counters[1], counters[9]];
  return { kernelUs: (system + irq + softirq) * tickUs, packets: received + sent };
}

function start(netns: string, command: readonly string[]): ChildProcess {
  return spawn('nsenter', [`--net=${netns}`, ...priority, ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
