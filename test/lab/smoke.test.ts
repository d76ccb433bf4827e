/**
 * The lab of the Vagrantfile without Vagrant: five nodes that install the package by scripts/provision.sh, three of them managers, made
 * a swarm by vagrant/cluster.sh and proven by vagrant/smoke.sh, whose own items say what fails.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import { Lab, checkout } from '../../src/lab/lab.js';

const name = 'test-smoke';
const managers = 3;
const packageDeadlineMs = 180_000;
const upDeadlineMs = 300_000;
/** Beyond total_s of smoke.sh and its last item, both of which end earlier by themselves. */
const smokeDeadlineMs = 2_400_000;

describe('five nodes that run the package', () => {
  let directory = '';
  let lab: Lab;

  beforeAll(async () => {
    await Lab.down(name);
    // Nodes see all of this machine's directories but /tmp and /run.
    directory = await mkdtemp('/var/tmp/skep-smoke-');
    const settings = ['--as-built', '--compress', 'none', '--output', directory];
    await hostCommand([join(checkout, 'scripts/package.sh'), ...settings], { deadlineMs: packageDeadlineMs });
    const built = (await hostCommand(['find', directory, '-name', 'skep_*.deb'])).trim();
    expect(built).toMatch(/^\/\S+\.deb$/);
    lab = await Lab.up({ name, nodes: 5, package: built, progress: () => undefined });
  }, packageDeadlineMs + upDeadlineMs);
  afterAll(async () => {
    await Lab.down(name);
    await rm(directory, { recursive: true, force: true });
  }, upDeadlineMs);

  const inNode = async (node: string, script: string): Promise<string> =>
    (await lab.exec(node, ['sh', '-c', script])).stdout.trim();

  test('daemons and command are the package’s, not the checkout’s', async () => {
    for (const { name: node } of lab.nodes) {
      expect(await inNode(node, 'dpkg-query -W -f "\\${db:Status-Status}" skep')).toBe('installed');
      expect(await inNode(node, 'readlink -f "$(command -v skep)"')).toBe('/usr/lib/skep/bin/skep');
      for (const daemon of ['skepd', 'skep-dataplane'])
        expect(await inNode(node, `tr '\\0' ' ' </proc/$(cat /run/lab/pid/${daemon})/cmdline`)).toMatch(
          / \/usr\/lib\/skep\/\S*dist\/\S+\/main\.js$/,
        );
    }
  });

  test(
    'the acceptance list holds on them',
    async () => {
      const smoke = [join(checkout, 'vagrant/smoke.sh'), 'lab', name, String(managers)];
      const { exitCode, stdout } = await tryHostCommand(smoke, { deadlineMs: smokeDeadlineMs });
      // Of a failure what was said, of a success the plan: thirteen items, none of them passed over.
      expect(stdout.split('\n').filter((line) => !line.startsWith('ok '))).toEqual(['1..13', '']);
      expect(exitCode).toBe(0);
    },
    smokeDeadlineMs,
  );

  test('no join token was written to a log, nor to a disk as it is', async () => {
    const token = 'SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}';
    for (const { name: node } of lab.nodes) {
      // The directory is there, and is read. A checkout below /tmp is in the nodes, with the tokens that the acceptance list makes up.
      expect(await inNode(node, 'grep -l . /run/lab/log/skepd.log')).toBe('/run/lab/log/skepd.log');
      expect(
        await inNode(
          node,
          `grep -rlE '${token}' /run/lab/log /run/skep /var/lib/skep /etc/skep /tmp | grep -v '^${checkout}/'`,
        ),
      ).toBe('');
    }
  });

  test('a node that was off goes on with the version that it had', async () => {
    const worker = lab.nodes.at(-1)?.name ?? '';
    const version = 'dpkg-query -W -f "\\${Version}" skep';
    const mark = '/usr/lib/skep/mark';
    const before = await inNode(worker, `touch ${mark}; ${version}`);
    expect(before).not.toBe('');
    await lab.kill(worker);
    await lab.start(worker);
    expect(await inNode(worker, `ls ${mark}; ${version}`)).toBe(`${mark}\n${before}`);
  }, 120_000);
});
