/**
 * An upgrade of the package under load: the daemons of three managers run from one version of it, and are upgraded node after
 * node to the next while a hundred requests a second come to all of them, on connections of their own and on kept ones. No
 * request fails, no task is another one afterwards. The package's own scripts say in which order what is restarted; lab nodes have no
 * systemd, so what they ask of it is done here as its units say (test/engine/package.test.ts has a host with systemd).
 */
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { initSwarm } from '../../src/lab/swarm.js';
import { observeTasks } from '../../src/lab/tasks.js';
import { makePackage, visibleDirectory } from '../engine/systemd-host.js';
import { eventually, TestLab } from '../support/lab.js';
import { MixedLoad } from '../support/mixed-load.js';

const versions = ['1.0.0', '1.0.1'] as const;
const [first, second] = versions;
const packages: Record<string, string> = {};
let directory: string;
// Before the lab is up: nodes see of this machine's disk what is on it then.
beforeAll(async () => {
  directory = visibleDirectory();
  for (const version of versions) packages[version] = await makePackage(directory, version);
}, 300_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

const cluster = new TestLab({ name: 'upgrade', nodes: 3 });
const nodes = ['node1', 'node2', 'node3'];
const port = 8080;
const rates = { new: 80, kept: 20, streams: 0 };
const installMs = 120_000;
/** Longer than anything that is restarted takes: a request that waits for it has waited for the wrong thing. */
const silenceMs = 5_000;

/**
 * systemd for the package's scripts, by what a lab node has: its supervisor starts a daemon again a second after its end.
 * Started is who can be asked, as the units have it.
 */
const invoke = `#!/bin/sh
case $1 in start | restart) ;; *) exit 0 ;; esac
name=\${2%.service}
case $name in
skep-dataplane) socket=/run/docker/plugins/skep.sock ;;
skepd) socket=/run/skep/docker.sock ;;
*) exit 1 ;;
esac
before=$(cat "/run/lab/pid/$name")
kill -TERM "$before"
tries=300
while [ $((tries -= 1)) -gt 0 ]; do
  now=$(cat "/run/lab/pid/$name" 2>/dev/null || echo "$before")
  if [ "$now" != "$before" ] && [ -S "$socket" ]; then exit 0; fi
  sleep 0.1
done
exit 1
`;

const shell = (node: string, line: string, input = ''): Promise<string> =>
  cluster.lab
    .exec(node, ['sh', '-c', line], { deadlineMs: installMs, input })
    .then(({ exitCode, stdout, stderr }) => {
      expect({ node, line, exitCode, stderr: exitCode === 0 ? '' : stdout + stderr }).toEqual({
        node,
        line,
        exitCode: 0,
        stderr: '',
      });
      return stdout.trimEnd() + stderr;
    });

async function install(node: string, version: string): Promise<void> {
  const said = await shell(node, `dpkg -i ${packages[version]}`);
  expect(said).not.toMatch(/did not (re)?start/);
  expect(await cluster.run(node, ['skep', '--version'])).toBe(version);
  const programs = 'for name in skep-dataplane skepd; do readlink /proc/$(cat /run/lab/pid/$name)/exe; done';
  expect(await shell(node, programs)).toBe('/usr/lib/skep/node\n/usr/lib/skep/node');
}

const tasks = async (): Promise<string[]> =>
  (await observeTasks(cluster.lab, 'node1', 'web')).map(({ containerId }) => containerId).sort();
const ready = (): Promise<unknown> =>
  eventually(
    'all managers are ready and reachable',
    60_000,
    () => cluster.docker('node1', 'node ls --format {{.Status}}-{{.ManagerStatus}}'),
    (text) => expect(text.split('\n').sort()).toEqual(['Ready-Leader', 'Ready-Reachable', 'Ready-Reachable']),
  );

beforeAll(async () => {
  for (const node of nodes) {
    await shell(
      node,
      'cat >/run/lab/bin/deb-systemd-invoke && chmod +x /run/lab/bin/deb-systemd-invoke',
      invoke,
    );
    await shell(node, 'ln -s /bin/true /run/lab/bin/systemctl && mkdir -p /run/systemd/system');
    await shell(
      node,
      'for name in skep skepd skep-dataplane; do ln -sfn /usr/bin/$name /run/lab/bin/$name; done',
    );
    await install(node, first);
  }
  await initSwarm(cluster.lab, nodes.length, () => undefined);
  const create = `service create --detach --no-resolve-image --name web --replicas 3 --publish ${port}:80 skep/whoami:lab`;
  await cluster.docker('node1', create);
  await eventually('three tasks run', 90_000, tasks, (found) => expect(found).toHaveLength(3));
  for (const node of nodes) await cluster.expectVerified(node);
}, 600_000);

test('every node is upgraded, and no request fails', async () => {
  await ready();
  const before = await tasks();
  const urls = nodes.map((_, at) => `http://192.168.60.${at + 1}:${port}/`);
  using load = new MixedLoad(cluster.lab, rates, { web: urls }, silenceMs);
  for (const node of nodes) {
    await install(node, second);
    await cluster.expectVerified(node);
    // As an administrator does it: the next one when this one is back.
    await ready();
  }
  const { answered, failures, ms } = await load.end();
  expect(failures).toEqual([]);
  expect(answered.new).toBeGreaterThan((rates.new * ms) / 1000 / 2);
  expect(answered.kept).toBeGreaterThan((rates.kept * ms) / 1000 / 2);
  expect(await tasks()).toEqual(before);
});
