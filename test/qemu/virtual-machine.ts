/**
 * Runs one command on Debian 12's stock kernel: a QEMU guest without KVM, two processors, on this machine's own root with a
 * tmpfs above it (scripts/qemu-kernel.sh lays out kernel and initramfs). It boots in about two seconds; code in it runs three
 * to twenty times slower than here. The guest has no network. Ended by its power-off or its deadline, it leaves nothing.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileServerCommand, fileServerLock, guestCommand } from '../../src/lab/qemu.js';

/** One JSON line of the guest. */
export type GuestReport = Readonly<Record<string, unknown>>;

export interface GuestRun {
  /** What the command wrote to the file that SKEP_GUEST_REPORTS names, in its order. */
  readonly reports: readonly GuestReport[];
  /** Of the command. */
  readonly exitCode: number;
  /** Seconds from the start of QEMU until the guest was on its root, and until it was off. */
  readonly bootS: number;
  readonly totalS: number;
  /** What kernel and command wrote to the console. */
  readonly console: string;
}

const checkout = resolve(import.meta.dirname, '../..');
const memoryMiBOtherwise = 2048;

/**
 * Runs `command` (a line for bash) in the checkout inside a guest of its own.
 * @param onReport called with each report as it comes
 * @throws Error with all that came out of the guest when it cannot be started, is not off by the deadline or went off before
 *   the command had ended
 */
export async function runInVirtualMachine(
  command: string,
  deadlineMs: number,
  onReport: (report: GuestReport) => void = () => undefined,
  memoryMiB = memoryMiBOtherwise,
): Promise<GuestRun> {
  assert(!/["\n]/.test(command), 'a command line of the kernel keeps no quotes and no line ends');
  const work = await mkdtemp(join(tmpdir(), 'skep-qemu-'));
  const root = join(work, 'root.sock');
  const started: ChildProcess[] = [];
  try {
    const files = start(started, fileServerCommand(root, '/', 'always'));
    await lineWith(files, 'Waiting for vhost-user socket connection');
    const beganMs = performance.now();
    const guest = start(
      started,
      guestCommand({
        memoryMiB,
        init: `${checkout}/test/qemu/guest/init.sh`,
        environment: { skep_checkout: checkout, skep_command: command },
        files: { root },
        console: join(work, 'console'),
        devices: [
          ...['-device', 'virtio-serial-pci', '-chardev', 'stdio,id=reports,signal=off'],
          ...['-device', 'virtserialport,chardev=reports,name=reports'],
        ],
      }),
    );
    const reports: GuestReport[] = [];
    let bootS = NaN;
    let exitCode: number | undefined;
    createInterface(guest.stdout!).on('line', (line) => {
      const report = JSON.parse(line) as GuestReport;
      if (typeof report['booted'] === 'boolean') bootS = secondsSince(beganMs);
      else if (typeof report['exit'] === 'number') exitCode = report['exit'];
      else {
        reports.push(report);
        onReport(report);
      }
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      guest.kill('SIGKILL');
    }, deadlineMs);
    const words = await outputUntilEnd(guest).finally(() => clearTimeout(timer));
    const text = words + (await readFile(join(work, 'console'), 'utf8').catch(() => ''));
    const all = (): string => [...reports.map((report) => JSON.stringify(report)), text].join('\n');
    if (late) throw new Error(`the guest was not off after ${deadlineMs} ms:\n${all()}`);
    if (exitCode === undefined) throw new Error(`the guest ended before its command:\n${all()}`);
    return { reports, exitCode, bootS, totalS: secondsSince(beganMs), console: text };
  } finally {
    await Promise.all(started.map(end));
    await rm(fileServerLock(root), { force: true });
    await rm(work, { recursive: true, force: true });
  }
}

const secondsSince = (beganMs: number): number => Math.round(performance.now() - beganMs) / 1000;

/** A child that ends with this process, however that ends. */
function start(started: ChildProcess[], argv: readonly string[]): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], { stdio: 'pipe' });
  started.push(child);
  return child;
}

/** Kills a child that still runs; resolves once it is gone. */
async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** Resolves once the child has written `words` to its standard error; rejects when it ends without. */
function lineWith(child: ChildProcess, words: string): Promise<void> {
  return new Promise((done, reject) => {
    const lines: string[] = [];
    createInterface(child.stderr!).on('line', (line) => {
      lines.push(line);
      if (line.includes(words)) done();
    });
    child.once('error', reject);
    child.once('close', () => reject(new Error(`ended early:\n${lines.join('\n')}`)));
  });
}

function outputUntilEnd(child: ChildProcess): Promise<string> {
  return new Promise((done, reject) => {
    const chunks: Buffer[] = [];
    child.stderr!.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('error', reject);
    child.once('close', () => done(Buffer.concat(chunks).toString()));
  });
}
