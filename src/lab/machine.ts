/**
 * A node's machine: one user-mode Linux process. It is a session of its own on this machine, so it survives the shell that
 * started it, and `kill` finds all of it: the kernel's process and those that carry its guests' memory.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { OutsideError } from '../model/errors.js';
import { nodeCpu } from './layout.js';
import type { LabPaths, NodeLayout } from './layout.js';
import { hostCommand } from './host-command.js';
import { isAlive, networkNamespace, processIds, processStat } from './process-table.js';
import { inNamespace } from './switch.js';

/** Memory of a node; it takes from this machine only what it touches. */
const memoryMiB = 1536;
/** Size of a node's disk; sparse, so it takes only what is written. */
const diskSize = '8G';
const umlKernel = '/usr/bin/linux.uml';
const goneDeadlineMs = 10_000;

/** Makes the node's empty disk. */
export async function createDisk(node: NodeLayout): Promise<void> {
  await hostCommand(['truncate', '-s', diskSize, node.disk]);
  await hostCommand(['mkfs.ext4', '-q', '-E', 'lazy_itable_init=1,nodiscard', '-J', 'size=32', node.disk]);
}

/** Starts the node's kernel and its relay; returns at once, the node boots meanwhile. */
export function startMachine(paths: LabPaths, node: NodeLayout, checkout: string): void {
  mkdirSync(node.logs, { recursive: true });
  const kernel = startDetached(
    inNamespace(paths.switchNamespace, [
      ...['taskset', '-c', String(nodeCpu(node.index, cpus().length))],
      umlKernel,
      ...['quiet', 'rootfstype=hostfs', 'rootflags=/', 'ro', `mem=${memoryMiB}M`],
      ...['con=null', 'con0=null,fd:1', `umid=${node.name}`, `uml_dir=${paths.uml}`],
      `init=${checkout}/scripts/lab-node-init.sh`,
      `ubd0=${node.disk}`,
      `vec0:transport=tap,ifname=${node.tap},depth=128,gro=1,mac=${node.mac}`,
      // Without gro the guest drops the large frames of a fast sender on this machine.
      `vec1:transport=tap,ifname=${node.controlTap},depth=128,gro=1,mac=${node.controlMac}`,
      `SKEP_LAB_NODE=${node.name}`,
      `SKEP_LAB_ADDRESS=${node.address}/24`,
      `SKEP_LAB_CONTROL=${node.controlAddress}/24`,
      `SKEP_LAB_CHECKOUT=${checkout}`,
      `SKEP_LAB_LOG=${node.logs}`,
      `SKEP_LAB_NODEJS=${process.execPath}`,
    ]),
    node.console,
  );
  writeFileSync(node.pidFile, `${kernel} ${processStat(kernel)?.startTime ?? ''}\n`);
  const relay = `${checkout}/dist/lab/relay.js`;
  startDetached(
    inNamespace(paths.switchNamespace, [
      ...[process.execPath, relay, node.agentSocket, node.controlAddress, String(kernel)],
    ]),
    paths.relayLog,
  );
}

/** A process in a session of its own with nothing of ours but its output file; returns its pid. */
function startDetached(argv: readonly string[], output: string): number {
  const [command = '', ...rest] = argv;
  const fd = openSync(output, 'a');
  try {
    const child = spawn(command, rest, { detached: true, stdio: ['ignore', fd, fd], cwd: '/' });
    child.on('error', () => undefined);
    if (child.pid === undefined) throw new OutsideError(`cannot start ${command}`, false);
    child.unref();
    return child.pid;
  } finally {
    closeSync(fd);
  }
}

/** The pid of the node's running kernel, or undefined when the node is off. */
export function machinePid(node: NodeLayout): number | undefined {
  let kept: string;
  try {
    kept = readFileSync(node.pidFile, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
  const [pid = '', startTime = ''] = kept.trim().split(' ');
  // The start time beside the pid: a pid may be used again, a pair of both is not.
  return isAlive(Number(pid)) && processStat(Number(pid))?.startTime === startTime ? Number(pid) : undefined;
}

/** Cuts the node's power: SIGKILL to the kernel and all that belongs to it. Returns once they are gone. */
export async function killMachine(paths: LabPaths, node: NodeLayout): Promise<void> {
  const pid = machinePid(node);
  if (pid !== undefined) await killSession(pid);
  rmSync(node.pidFile, { force: true });
  rmSync(node.agentSocket, { force: true });
  // The kernel would refuse a name whose pid file names a process that is dead but not yet waited for.
  rmSync(`${paths.uml}/${node.name}`, { recursive: true, force: true });
}

/** Kills every process that runs in one of the namespaces: the machines, the relays, what `client` left running. */
export async function killInNamespaces(paths: LabPaths): Promise<void> {
  const namespaces = new Set<string>();
  for (const path of [paths.switchNamespace, paths.clientNamespace])
    namespaces.add((await hostCommand(['stat', '-L', '-c', 'net:[%i]', path]).catch(() => '')).trim());
  namespaces.delete('');
  await killAll(() => processIds().filter((pid) => namespaces.has(networkNamespace(pid))));
}

/**
 * Kills a machine. First the kernel is stopped and its guests' processes are killed, then the kernel: guests outliving the
 * kernel that traces them would go on by themselves and make their system calls on this machine.
 */
async function killSession(kernel: number): Promise<void> {
  sendSignal(kernel, 'SIGSTOP');
  await killAll(() => processIds().filter((pid) => pid !== kernel && processStat(pid)?.session === kernel));
  await killAll(() => [kernel]);
}

/** Kills what `observe` finds until it finds nothing. */
async function killAll(observe: () => number[]): Promise<void> {
  const end = Date.now() + goneDeadlineMs;
  for (;;) {
    const left = observe().filter(isAlive);
    if (left.length === 0) return;
    if (Date.now() >= end) throw new OutsideError(`processes do not end: ${left.join(' ')}`, true);
    for (const pid of left) sendSignal(pid, 'SIGKILL');
    await delay(20);
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}
