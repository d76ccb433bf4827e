/** Boots one user-mode Linux for one scenario and gives what it reported. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** One JSON line of the guest. */
export type Report = Readonly<Record<string, unknown>>;

/**
 * Runs the scenario in a guest of its own and waits for it to power off.
 * @param scenario path of the JavaScript to run
 * @param environment variables of the scenario; values without blanks
 * @throws Error with the console's text when the scenario failed or the deadline passed
 */
export async function runScenario(
  scenario: string,
  deadlineMs: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Report[]> {
  const init = join(import.meta.dirname, 'guest/init.sh');
  const umlDirectory = await mkdtemp(join(tmpdir(), 'skep-uml-'));
  const console_: Buffer[] = [];
  try {
    const guest = spawn(
      'taskset',
      [
        ...['-c', String(ownCpu()), 'linux.uml'],
        'quiet',
        'rootfstype=hostfs',
        'rootflags=/',
        'rw',
        'mem=1G',
        `init=${init}`,
        `skep_scenario=${scenario}`,
        `skep_checkout=${resolve(import.meta.dirname, '../..')}`,
        // What the kernel does not know becomes the environment of its first process.
        ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
        'con=null',
        'con0=null,fd:1',
        `uml_dir=${umlDirectory}/`,
        `umid=skep-test-${process.pid}`,
      ],
      // A group of its own: the guest's processes are processes here, and end with it.
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    );
    const kill = (): void => {
      if (guest.pid !== undefined && guest.exitCode === null && guest.signalCode === null)
        process.kill(-guest.pid, 'SIGKILL');
    };
    const timer = setTimeout(kill, deadlineMs);
    guest.stdout.on('data', (chunk: Buffer) => console_.push(chunk));
    guest.stderr.on('data', (chunk: Buffer) => console_.push(chunk));
    await new Promise<void>((done, reject) => {
      guest.on('error', reject);
      guest.on('close', () => done());
    }).finally(() => clearTimeout(timer));
  } finally {
    await rm(umlDirectory, { recursive: true, force: true });
  }
  const text = Buffer.concat(console_).toString();
  const reports = text.split(/\r?\n/).flatMap((row): Report[] => {
    try {
      return row.startsWith('{') ? [JSON.parse(row) as Report] : [];
    } catch {
      return [];
    }
  });
  if (!reports.some(({ exit }) => exit === 0)) throw new Error(`the scenario failed:\n${text}`);
  return reports;
}

/**
 * The processor of a guest of this worker. On one, a guest's system calls cost a half to a quarter of what they cost where its
 * kernel and its processes wake each other across two, and always the same.
 */
const ownCpu = (): number => Number(process.env['VITEST_POOL_ID'] ?? 0) % cpus().length;
