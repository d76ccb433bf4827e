/**
 * A host with systemd for a test: scripts/systemd-host.sh on this machine's own kernel, with what this machine has installed and
 * nothing of what it runs. Gone with the scope, whatever became of it.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  createNodeGroups,
  groupMembers,
  killGroup,
  removeEmptyGroup,
  removeGroups,
} from '../../src/lab/cgroups.js';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import type { CommandResult } from '../../src/lab/host-command.js';
import { startDetached, untilGone } from '../../src/lab/machine.js';
import { eventually } from '../support/lab.js';

const script = resolve(import.meta.dirname, '../../scripts/systemd-host.sh');
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const bootMs = 60_000;
const commandMs = 120_000;
/** Of its own, below the one of all labs. */
const group = `skep-lab/systemd-${process.pid}`;

export class SystemdHost implements AsyncDisposable {
  private constructor(
    private readonly directory: string,
    private readonly init: number,
  ) {}

  /**
   * Resolves when its systemd has started what it is to start.
   * @param directory on this machine's disk and not below /tmp: what is in it now is seen by the host, too
   */
  static async boot(directory: string): Promise<SystemdHost> {
    const own = mkdtempSync(join(directory, 'host-'));
    const groups = createNodeGroups(group);
    const outer = startDetached(['bash', script], join(own, 'console'), {
      PATH: process.env['PATH'],
      SKEP_HOST_DIR: mkdtempSync(join(own, 'root-')),
      SKEP_HOST_GROUPS: groups.all.join(' '),
      SKEP_HOST_INIT_GROUP: groups.init,
    });
    let host: SystemdHost | undefined;
    try {
      await eventually(
        'systemd runs',
        bootMs,
        async () => {
          const child = (await tryHostCommand(['pgrep', '--parent', String(outer)])).stdout.trim();
          host = new SystemdHost(own, Number(child));
          const { stdout, stderr } = await host.try('systemctl is-system-running', 5_000);
          return { child, said: stdout.trim() || stderr.trim() };
        },
        ({ child, said }) => {
          // Degraded: of this machine's units some do not start in a host without devices.
          if (child === '' || !['running', 'degraded'].includes(said))
            throw new Error(
              `process 1 is ${child}: ${said}; ${readFileSync(join(own, 'console'), 'utf8').slice(-2_000)}`,
            );
        },
      );
      if (!host) throw new Error('the host did not start');
      return host;
    } catch (err) {
      await clear(own);
      throw err;
    }
  }

  /** Runs a shell's command line as root of the host. */
  try(line: string, deadlineMs = commandMs): Promise<CommandResult> {
    return tryHostCommand(this.#argv(line), {
      deadlineMs,
      env: { PATH: path, HOME: '/root', LC_ALL: 'C.UTF-8' },
    });
  }

  /** As `try`; gives what it printed, without the last newline. Throws with what it said, and the daemons' last words, when it fails. */
  async run(line: string, deadlineMs = commandMs): Promise<string> {
    const { exitCode, stdout, stderr } = await this.try(line, deadlineMs);
    if (exitCode === 0) return stdout.trimEnd();
    const words = await this.try('journalctl --no-pager -n 60 -u skepd -u skep-dataplane -u docker');
    throw new Error(`${line}: exit ${exitCode}\n${stdout}${stderr}\n${words.stdout}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await clear(this.directory);
  }

  #argv(line: string): string[] {
    const all = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup'];
    return ['nsenter', '--target', String(this.init), ...all, 'sh', '-c', line];
  }
}

async function clear(directory: string): Promise<void> {
  killGroup(group);
  await untilGone('processes of the host', () => groupMembers(group));
  await removeGroups(group);
  removeEmptyGroup('skep-lab');
  // Mounts went with the last process.
  rmSync(directory, { recursive: true, force: true });
}

/** Where hosts see what is made for them: this machine's disk, and not below /tmp. */
export const visibleDirectory = (): string => mkdtempSync('/var/tmp/skep-package-');

/** Makes a package as `npm run package` does, from dist/ as it is and without compression. @returns its path */
export async function makePackage(output: string, version: string): Promise<string> {
  const program = resolve(import.meta.dirname, '../../scripts/package.sh');
  const options = ['--as-built', '--compress', 'none', '--version', version, '--output', output];
  await hostCommand([program, ...options], { deadlineMs: 300_000 });
  const architecture = (await hostCommand(['dpkg', '--print-architecture'])).trim();
  return join(output, `skep_${version}_${architecture}.deb`);
}
