/**
 * What a lab needs of the machine below a node, whatever kernel the node runs on: one {@link MachineKind} a kernel, and
 * here the parts they share. A machine is one process on this machine, a session of its own, so it survives the shell
 * that started it; its pid and start time are in the node's pid file.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { OutsideError } from '../model/errors.js';
import { hostCommand } from './host-command.js';
import type { LabPaths, NodeLayout } from './layout.js';
import { isAlive, networkNamespace, processIds, processStat } from './process-table.js';
import { inNamespace } from './switch.js';

/** A node that is to start, and where from. */
export interface Boot {
  readonly paths: LabPaths;
  readonly node: NodeLayout;
  /** The tree whose bin directory the node's daemons come from. */
  readonly checkout: string;
  /** The engine is for its own Swarm mode, and Skep's daemons do not run. */
  readonly swarmMode: boolean;
  /** What SKEP_BALANCER says to skep-dataplane; undefined leaves the choice to it. */
  readonly balancer: string | undefined;
  /** What SKEP_ALLOW says to skepd; undefined: nothing. */
  readonly allow: string | undefined;
  /** Directory with the dockerd to run and what it starts; undefined: the machine's own. */
  readonly engine: string | undefined;
  /** The Debian package that Skep's daemons come from, as nodes see its path; undefined: they are the checkout's. */
  readonly package: string | undefined;
}

/** One way to have a kernel below a node. */
export interface MachineKind {
  /** Files that must be on this machine, beside those every lab needs. */
  readonly parts: readonly string[];
  /** How many times longer than on this machine's own kernel a node may take: deadlines are as many times later. */
  readonly slowness: number;
  /** Lines for `ip -batch` in the switch's namespace: the ports of a node that are there before it starts. */
  portLines(node: NodeLayout): string[];
  /** Starts the node's machine with its disk and its way in for the agent; returns while the node still boots. */
  start(boot: Boot): Promise<void>;
  /** Cuts the node's power, running or not, and clears what is left of it but the disk. Returns once all is gone. */
  kill(paths: LabPaths, node: NodeLayout): Promise<void>;
}

/** Size of a node's disk; sparse, so it takes only what is written. */
const diskSize = '8G';
const goneDeadlineMs = 10_000;

/** Makes the node's empty disk. */
export async function createDisk(node: NodeLayout): Promise<void> {
  await hostCommand(['truncate', '-s', diskSize, node.disk]);
  await hostCommand(['mkfs.ext4', '-q', '-E', 'lazy_itable_init=1,nodiscard', '-J', 'size=32', node.disk]);
}

/** Makes the node's directories below the lab's run directory, as far as they are not there. */
export function createNodeDirs({ logs, root, agentSocketDir }: NodeLayout): void {
  for (const dir of [logs, root, agentSocketDir]) mkdirSync(dir, { recursive: true });
}

/** What scripts/lab-node-init.sh wants to know of any node. */
export const nodeEnvironment = ({
  node,
  checkout,
  swarmMode,
  balancer,
  allow,
  engine,
  package: file,
}: Boot): Record<string, string> => ({
  SKEP_LAB_NODE: node.name,
  SKEP_LAB_ADDRESS: `${node.address}/24`,
  SKEP_LAB_CHECKOUT: checkout,
  SKEP_LAB_LOG: node.logs,
  SKEP_LAB_NODEJS: process.execPath,
  ...(swarmMode ? { SKEP_LAB_SWARM_MODE: 'yes' } : {}),
  ...(balancer === undefined ? {} : { SKEP_LAB_BALANCER: balancer }),
  ...(allow === undefined ? {} : { SKEP_LAB_ALLOW: allow }),
  ...(engine === undefined ? {} : { SKEP_LAB_ENGINE: engine }),
  ...(file === undefined ? {} : { SKEP_LAB_PACKAGE: file }),
});

/** A process in a session of its own with nothing of ours but its output file; returns its pid. */
export function startDetached(
  argv: readonly string[],
  output: string,
  env: NodeJS.ProcessEnv = process.env,
): number {
  const [command = '', ...rest] = argv;
  const fd = openSync(output, 'a');
  try {
    const child = spawn(command, rest, { detached: true, stdio: ['ignore', fd, fd], cwd: '/', env });
    child.on('error', () => undefined);
    if (child.pid === undefined)
      throw new OutsideError(`cannot start ${command}`, false, {
        advice: {
          means: 'It is not on this machine, or this machine can run no more processes.',
          todo: 'Run scripts/setup.sh, which installs what is missing; "free -m" shows whether memory is left.',
        },
      });
    child.unref();
    return child.pid;
  } finally {
    closeSync(fd);
  }
}

/** The ports of a node with a kernel of its own: taps on the lab's and on the control bridge. */
export const tapLines = ({ port, controlPort }: NodeLayout): string[] => [
  `tuntap add ${port} mode tap`,
  `link set ${port} master lab up`,
  `tuntap add ${controlPort} mode tap`,
  `link set ${controlPort} master control up`,
];

/** Starts what leads from the node's socket on this machine to its agent on the control network; it ends with `machine`. */
export function startRelay({ paths, node, checkout }: Boot, machine: number): void {
  const relay = [process.execPath, `${checkout}/dist/lab/relay.js`];
  startDetached(
    inNamespace(paths.switchNamespace, [...relay, node.agentSocket, node.controlAddress, String(machine)]),
    paths.relayLog,
  );
}

/** Keeps the pid of the process that is the node's machine. */
export function writePid(node: NodeLayout, pid: number): void {
  // The start time beside the pid: a pid may be used again, a pair of both is not.
  writeFileSync(node.pidFile, `${pid} ${processStat(pid)?.startTime ?? ''}\n`);
}

/** The pid of the node's running machine, or undefined when the node is off. */
export function machinePid(node: NodeLayout): number | undefined {
  let kept: string;
  try {
    kept = readFileSync(node.pidFile, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
  const [pid = '', startTime = ''] = kept.trim().split(' ');
  return isAlive(Number(pid)) && processStat(Number(pid))?.startTime === startTime ? Number(pid) : undefined;
}

/** Kills every process that runs in one of the lab's namespaces: machines, relays, what `client` left running. */
export async function killInNamespaces(paths: LabPaths): Promise<void> {
  const namespaces = new Set<string>();
  for (const path of [paths.switchNamespace, paths.clientNamespace])
    namespaces.add((await hostCommand(['stat', '-L', '-c', 'net:[%i]', path]).catch(() => '')).trim());
  namespaces.delete('');
  await killAll(() => processIds().filter((pid) => namespaces.has(networkNamespace(pid))));
}

/**
 * Kills a machine that is a session. First its first process is stopped and all others are killed, then it: processes that
 * outlive the user-mode kernel that traces them would go on by themselves and make their system calls on this machine.
 */
export async function killSession(machine: number): Promise<void> {
  sendSignal(machine, 'SIGSTOP');
  await killAll(() => processIds().filter((pid) => pid !== machine && processStat(pid)?.session === machine));
  await killAll(() => [machine]);
}

/** Kills what `observe` finds until it finds nothing. */
export async function killAll(observe: () => number[]): Promise<void> {
  await untilGone('processes', () => {
    const left = observe().filter(isAlive);
    for (const pid of left) sendSignal(pid, 'SIGKILL');
    return left;
  });
}

/** Asks again until nothing of `what` is left; throws OutsideError if something stays. */
export async function untilGone(
  what: string,
  observe: () => readonly unknown[] | Promise<readonly unknown[]>,
): Promise<void> {
  const end = Date.now() + goneDeadlineMs;
  for (;;) {
    const left = await observe();
    if (left.length === 0) return;
    if (Date.now() >= end)
      throw new OutsideError(`${what} do not go: ${left.join(' ')}`, true, {
        advice: {
          means: 'Something still holds what a lab leaves: a shell in one of its directories, for instance.',
          todo: 'End what holds it, then "skep lab down" with the name of the lab again, which goes on where this one stopped.',
        },
      });
    await delay(20);
  }
}

/** A process that has ended takes no signal, and that is fine. */
function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}
