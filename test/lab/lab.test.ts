/**
 * The lab itself, with engines only, on this machine's own kernel: what `skep lab` promises about machines, commands, cuts, power cuts
 * and leaving nothing. test/lab-uml has what is different about machines in user-mode Linux.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { groupMembers } from '../../src/lab/cgroups.js';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import type { CommandResult } from '../../src/lab/host-command.js';
import { Lab, checkout } from '../../src/lab/lab.js';
import { labPaths, laterEngine } from '../../src/lab/layout.js';
import { inNamespace } from '../../src/lab/switch.js';
import { observeNamespaces, observeTraces, processesButOfOtherLabs } from '../support/machine-traces.js';

const name = 'test-lab';
const otherName = 'test-lab-other';
const upDeadlineMs = 60_000;

const skepLab = (...args: string[]): string[] => [`${checkout}/bin/skep`, 'lab', ...args];

describe('a lab of two nodes', () => {
  let before: string[] = [];
  let lab: Lab;

  beforeAll(async () => {
    await Promise.all([Lab.down(name), Lab.down(otherName)]);
    before = await observeTraces(name);
    machineNamespaces = observeNamespaces([process.pid]);
    lab = await Lab.up({ name, nodes: 2, engineOnly: true, progress: () => undefined });
  }, upDeadlineMs);
  afterAll(async () => {
    await Promise.all([Lab.down(name), Lab.down(otherName)]);
  });

  /** What a node must not share. */
  let machineNamespaces = new Set<string>();

  const reaches = async (from: string, address: string): Promise<boolean> =>
    (await lab.exec(from, ['ping', '-c', '1', '-W', '2', address])).exitCode === 0;

  test('exec: output, errors, input and exit code are the command’s own', async () => {
    const script = 'cat; echo to-stderr >&2; exit 42';
    const argv = skepLab('exec', '--name', name, 'node1', '--', 'sh', '-c', script);
    expect(await tryHostCommand(argv, { input: 'a line\nno newline at the end' })).toEqual({
      exitCode: 42,
      stdout: 'a line\nno newline at the end',
      stderr: 'to-stderr\n',
    });
  });

  test('exec: a megabyte goes through and comes back', async () => {
    const input = 'x'.repeat(1024 * 1024);
    const { exitCode, stdout } = await lab.exec('node1', ['cat'], { input });
    expect({ exitCode, same: stdout === input }).toEqual({ exitCode: 0, same: true });
  });

  test('exec: death by a signal, a command that is not there, a node that is not there', async () => {
    expect((await lab.exec('node1', ['sh', '-c', 'kill -9 $$'])).exitCode).toBe(128 + 9);
    expect((await lab.exec('node1', ['no-such-command'])).exitCode).toBe(127);
    await expect(lab.exec('node9', ['true'])).rejects.toThrow('no such node: node9');
    const { exitCode, stderr } = await tryHostCommand(skepLab('exec', '--name', name, 'node9', '--', 'true'));
    expect({ exitCode, named: stderr.includes('no such node: node9') }).toEqual({
      exitCode: 125,
      named: true,
    });
  });

  test('exec: a command whose caller goes away ends', async () => {
    await expect(lab.exec('node1', ['sleep', '7654'], { deadlineMs: 2_000 })).rejects.toThrow(
      'not done after 2000 ms',
    );
    await expect
      .poll(async () => (await lab.exec('node1', ['pgrep', '-f', 'sleep 7654'])).exitCode, {
        timeout: 10_000,
      })
      .toBe(1);
  });

  test('exec: many at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const { stdout } = await lab.exec(`node${1 + (index % 2)}`, [
          'sh',
          '-c',
          `echo ${index} $(hostname)`,
        ]);
        return stdout.trim();
      }),
    );
    expect(answers).toEqual(Array.from({ length: 12 }, (_, index) => `${index} node${1 + (index % 2)}`));
  });

  test('a node looks like a plain host: one interface, its own identity, images, files that nobody else sees', async () => {
    const facts = async (command: string, node = 'node1'): Promise<string> =>
      (await lab.exec(node, ['sh', '-c', command])).stdout.trim();
    expect(await facts('hostname; cat /etc/hostname')).toBe('node1\nnode1');
    expect(await facts('ls /sys/class/net')).toBe('docker0\neth0\nlo');
    expect(await facts('echo $DOCKER_HOST')).toBe('unix:///run/skep/docker.sock');
    expect(await facts('cat /proc/self/cgroup | grep ^0:')).toBe('0::/lab/agent');
    expect(await facts('cat /proc/sys/net/ipv4/ip_forward')).toBe('1');
    expect(await facts('mkdir /sys/fs/bpf/only-in-the-node && ls /sys/fs/bpf | grep only')).toBe(
      'only-in-the-node',
    );
    expect(await facts('ls /sys/fs/bpf | grep only', 'node2')).toBe('');
    for (const identity of ['/proc/sys/kernel/random/boot_id', '/etc/machine-id']) {
      const ids = await Promise.all(['node1', 'node2'].map((node) => facts(`cat ${identity}`, node)));
      expect(new Set([...ids, readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()]).size).toBe(3);
    }
    const images = await facts(
      "docker -H unix:///run/docker.sock images --format '{{.Repository}}:{{.Tag}}' | grep ^skep/ | sort",
    );
    expect(images.split('\n')).toEqual(['skep/busybox:lab', 'skep/nginx:lab', 'skep/whoami:lab']);
    expect(await facts('touch /etc/only-in-the-node && ls /etc/only-in-the-node')).toBe(
      '/etc/only-in-the-node',
    );
    expect(existsSync('/etc/only-in-the-node')).toBe(false);
    expect(await facts('ls /etc/only-in-the-node 2>&1', 'node2')).toMatch(/No such file/);
  });

  test('what all nodes and this machine share is read-only in a node', async () => {
    const writes = [
      'echo 1 >/proc/sys/vm/swappiness',
      'echo 9 >/proc/sys/kernel/printk',
      `touch ${checkout}/from-the-node`,
    ];
    for (const write of writes) {
      const { exitCode, stderr } = await lab.exec('node1', ['sh', '-c', write]);
      expect({ write, failed: exitCode !== 0, stderr }).toEqual({
        write,
        failed: true,
        stderr: expect.stringContaining('Read-only file system') as string,
      });
    }
  });

  test('the client is a machine of its own, and a container’s published port answers it', async () => {
    const addresses = await lab.client(['ip', '-4', '-br', 'address', 'show', 'eth0']);
    expect(addresses.stdout).toContain('192.168.60.200/24');
    const run = 'docker -H unix:///run/docker.sock run -d --name plain -p 8081:80 skep/nginx:lab';
    const started = await lab.exec('node2', run.split(' '));
    expect({ exitCode: started.exitCode, stderr: started.stderr }).toEqual({ exitCode: 0, stderr: '' });
    await expect
      .poll(async () => (await lab.client(['curl', '-sS', '-m', '5', 'http://192.168.60.2:8081/'])).stdout, {
        timeout: 20_000,
      })
      .toMatch(/^[0-9a-f]{12} 192\.168\.60\.200 \S+\n$/);
  });

  test('cut and heal', async () => {
    expect(await reaches('node1', '192.168.60.2')).toBe(true);
    await lab.cut('node1', 'node2');
    expect(await lab.cuts()).toEqual(['node1 node2']);
    expect(await reaches('node1', '192.168.60.2')).toBe(false);
    expect(await reaches('node2', '192.168.60.1')).toBe(false);
    expect(await reaches('node2', '192.168.60.200')).toBe(true);
    await lab.heal();
    expect(await lab.cuts()).toEqual([]);
    await expect.poll(() => reaches('node1', '192.168.60.2'), { timeout: 15_000 }).toBe(true);
  });

  test('a second lab, for Swarm mode, has the same addresses, an engine of its own and no daemon of Skep, and sees nothing of the first', async () => {
    const other = await Lab.up({
      ...{ name: otherName, nodes: 1, swarmMode: true, engine: laterEngine, progress: () => undefined },
    });
    const daemons = (of: Lab): Promise<string> =>
      of.exec('node1', ['ls', '/run/lab/pid']).then(({ stdout }) => stdout);
    expect(await daemons(lab)).toBe('agent\ncontainerd\ndockerd\nskep-dataplane\nskepd\n');
    expect(await daemons(other)).toBe('agent\ncontainerd\ndockerd\n');
    const init = 'docker -H unix:///run/docker.sock swarm init --advertise-addr 192.168.60.1';
    expect((await other.exec('node1', init.split(' '))).exitCode).toBe(0);
    const runs = (of: Lab): Promise<CommandResult> =>
      of.exec('node1', [
        ...['docker', '-H', 'unix:///run/docker.sock', 'version', '-f'],
        'Docker version {{.Server.Version}}, build {{.Server.GitCommit}}',
      ]);
    for (const [of, dockerd] of [[lab, 'dockerd'] as const, [other, `${laterEngine}/dockerd`] as const])
      expect((await runs(of)).stdout).toBe(await hostCommand([dockerd, '--version']));
    await other.cut('node1', 'client');
    expect((await other.client(['curl', '-s', '-m', '2', 'http://192.168.60.2:8081/'])).exitCode).not.toBe(0);
    expect(await reaches('node1', '192.168.60.200')).toBe(true);
    await Lab.down(otherName);
    expect(await reaches('node1', '192.168.60.2')).toBe(true);
    expect(existsSync(labPaths(otherName).run)).toBe(false);
  });

  test.each([
    ['/tmp/engine', 'nodes see the machine’s directories but /tmp and /run'],
    ['engine', 'nodes see the machine’s directories but /tmp and /run'],
    ['/var/no-such-engine', 'a lab needs /var/no-such-engine/dockerd'],
  ])('no lab on an engine that is not there: %s', async (engine, message) => {
    const made = Lab.up({ name: otherName, nodes: 1, engineOnly: true, engine, progress: () => undefined });
    await expect(made).rejects.toThrow(message);
    expect(existsSync(labPaths(otherName).run)).toBe(false);
  });

  test('a power cut keeps the disk and nothing else', async () => {
    const write = 'echo kept >/var/lib/skep/probe; echo kept >/root/probe; echo lost >/run/probe; sync';
    expect((await lab.exec('node2', ['sh', '-c', write])).exitCode).toBe(0);
    const bootId = (): Promise<string> =>
      lab.exec('node2', ['cat', '/proc/sys/kernel/random/boot_id']).then(({ stdout }) => stdout, String);
    const firstBoot = await bootId();
    // The engine's own container included, whose processes are in namespaces of their own.
    const { group } = lab.node('node2');
    const namespaces = [...observeNamespaces(groupMembers(group))].filter((id) => !machineNamespaces.has(id));
    const ofKind = (kind: string): string[] => namespaces.filter((id) => id.startsWith(`${kind}:`));
    const twice = ['ipc', 'mnt', 'net', 'pid', 'uts'];
    // The node's and the container's.
    expect(twice.filter((kind) => ofKind(kind).length < 2)).toEqual([]);
    expect(ofKind('cgroup')).not.toEqual([]);
    // TCP would go on for minutes telling a peer that is out of reach of its end, and keep the namespace for that.
    const listener = lab.exec('node1', ['sh', '-c', 'sleep 7656 | busybox nc -l -p 7657']);
    const caller = expect(
      lab.exec('node2', ['sh', '-c', 'sleep 7656 | until busybox nc 192.168.60.1 7657; do sleep 0.1; done']),
    ).rejects.toThrow('the node does not answer');
    const connected = async (): Promise<number> =>
      (await lab.exec('node2', ['grep', '-i', ':1DE9 01', '/proc/net/tcp'])).exitCode;
    await expect.poll(connected, { timeout: 10_000 }).toBe(0);
    // A veth goes with the namespace of either end.
    const inSwitch = (argv: string): string[] => inNamespace(lab.paths.switchNamespace, argv.split(' '));
    const pid = lab.status()[1]?.pid;
    await hostCommand(inSwitch(`ip link add probe type veth peer name probe0 netns ${pid}`));
    const tracesOfNode = async (): Promise<string[]> =>
      (await observeTraces(name)).filter((line) => line.includes('node2.img') || line.includes(group));
    const whileUp = await tracesOfNode();
    expect(whileUp.some((line) => line.startsWith('/dev/loop'))).toBe(true);
    expect(whileUp.some((line) => line.startsWith('/sys/fs/cgroup'))).toBe(true);
    expect(await observeTraces(name)).toContain('dockerd --config-file /run/lab/disk/daemon.json ');
    await lab.kill('node2');
    await caller;
    const probe = async (): Promise<number> =>
      (await tryHostCommand(inSwitch('ip link show probe'))).exitCode;
    await expect.poll(probe, { timeout: 5_000 }).toBe(1);
    await lab.exec('node1', ['pkill', '-f', '765[67]']);
    await listener;
    expect(groupMembers(group)).toEqual([]);
    const left = observeNamespaces(processesButOfOtherLabs(name));
    expect(namespaces.filter((id) => left.has(id))).toEqual([]);
    expect(await tracesOfNode()).toEqual([]);
    expect(lab.status().map(({ state }) => state)).toEqual(['running', 'off']);
    await expect(lab.exec('node2', ['true'])).rejects.toThrow('node2 is off');
    await lab.start('node2');
    expect(await bootId()).not.toBe(firstBoot);
    const { stdout } = await lab.exec('node2', [
      'sh',
      '-c',
      'cat /var/lib/skep/probe /root/probe; cat /run/probe 2>&1',
    ]);
    expect(stdout).toBe('kept\nkept\ncat: /run/probe: No such file or directory\n');
    const containers = await lab.exec(
      'node2',
      'docker -H unix:///run/docker.sock ps -aq -f name=plain'.split(' '),
    );
    expect(containers.stdout).toMatch(/^[0-9a-f]{12}\n$/);
  });

  test('a daemon that is killed is started again', async () => {
    const pid = async (): Promise<string> =>
      (await lab.exec('node1', ['cat', '/run/lab/pid/dockerd'])).stdout.trim();
    const first = await pid();
    expect(first).toMatch(/^\d+$/);
    await lab.exec('node1', ['kill', '-9', first]);
    await expect.poll(pid, { timeout: 20_000 }).not.toBe(first);
    await expect
      .poll(
        async () =>
          (await lab.exec('node1', 'docker -H unix:///run/docker.sock version'.split(' '))).exitCode,
        { timeout: 60_000 },
      )
      .toBe(0);
  });

  test('is listed, with its nodes and cuts, for people and as JSON', async () => {
    const listed = await hostCommand(skepLab('ls'));
    expect(listed).toContain(`${name}\t2 of 2 nodes run\thost\tcomplete\n`);
    const labs = JSON.parse(await hostCommand(skepLab('ls', '--json'))) as unknown[];
    expect(labs).toContainEqual({ name, nodes: 2, running: 2, kernel: 'host', complete: true });
    await lab.cut('node1', 'client');
    const status = JSON.parse(await hostCommand(skepLab('status', '--name', name, '--json'))) as unknown;
    await lab.heal();
    const node = (index: number) => ({
      name: `node${index}`,
      address: `192.168.60.${index}`,
      state: 'running',
    });
    expect(status).toEqual({
      name,
      nodes: [1, 2].map((index) => ({ ...node(index), pid: lab.status()[index - 1]?.pid })),
      cuts: [['client', 'node1']],
    });
    const complete = async (...words: string[]): Promise<string[]> =>
      (await hostCommand([`${checkout}/bin/skep`, '__complete', ...words])).trim().split('\n');
    expect(await complete('labs')).toContain(name);
    expect(await complete('nodes', name)).toEqual(['node1', 'node2']);
  });

  test('that is there is not made again, and errors are JSON where that is asked for', async () => {
    const { exitCode, stdout, stderr } = await tryHostCommand(skepLab('up', '--name', name));
    expect({ exitCode, stdout, what: stderr.split('\n')[0] }).toEqual({
      ...{ exitCode: 1, stdout: '' },
      what: `skep lab up: there is a lab called ${name}`,
    });
    const refused = await tryHostCommand(skepLab('status', '--name', 'no-such-lab', '--json'));
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(JSON.parse(refused.stderr)).toMatchObject({
      error: { command: 'skep lab status', what: 'no lab called no-such-lab is up', exitCode: 1 },
    });
  });

  test('down leaves nothing', async () => {
    await lab.client(['sh', '-c', 'sleep 7655 >/dev/null 2>&1 </dev/null &']);
    expect(await Lab.down(name)).toBe(true);
    expect(await observeTraces(name)).toEqual(before);
    expect(await Lab.down(name)).toBe(false);
  });
});

test('an interrupted up leaves nothing that down does not find', async () => {
  const before = await observeTraces(name);
  for (const afterMs of [200, 700, 1_500]) {
    const up = spawn('node', [`${checkout}/dist/cli/main.js`, 'lab', 'up', '--name', name, '--engine-only'], {
      stdio: 'ignore',
    });
    // The moments are arbitrary on purpose: wherever it is hit, nothing may stay.
    await delay(afterMs);
    up.kill('SIGKILL');
    await Lab.down(name);
    expect(await observeTraces(name)).toEqual(before);
  }
});

test('up and down tell their steps on standard error, and what came of it on standard output', async () => {
  const up = await tryHostCommand(skepLab('up', '--name', name, '--nodes', '1', '--engine-only'));
  expect(up).toMatchObject({
    exitCode: 0,
    stdout: `lab ${name} is up; "skep lab down --name ${name}" ends it\n`,
  });
  const step = /^\[ +\d+\.\d s\] \S.*$/;
  const steps = up.stderr.trimEnd().split('\n');
  expect(steps.filter((line) => !step.test(line))).toEqual([]);
  expect(steps.map((line) => line.slice(line.indexOf(']') + 2))).toEqual([
    ...['making images, network and disks', 'starting 1 machine'],
    ...['node1: engine answers', 'node1: images loaded', 'node1: ready'],
  ]);
  const down = await tryHostCommand(skepLab('down', '--quiet', '--name', name));
  expect(down).toEqual({ exitCode: 0, stdout: `lab ${name} is gone\n`, stderr: '' });
  expect(await tryHostCommand(skepLab('down', '--name', name))).toEqual({
    ...{ exitCode: 0, stdout: `there is no lab called ${name}\n`, stderr: '' },
  });
});

test.each([
  [['up', '--nodes', '101'], 'a lab has 1 to 100 nodes, not 101'],
  [['up', '--managers', '4'], '--managers must be 1 to 3'],
  [['status', '--name', '../x'], 'invalid lab name "../x"'],
  [['explode'], 'unknown command "explode"'],
  [['cut', 'node1'], 'it needs B'],
  [['up', '--fast'], 'unknown option "--fast"'],
  [['up', '--kernel', 'other'], '--kernel must be one of host, uml, qemu, not "other"'],
  [['up', '--package', '/nowhere/skep.deb'], 'there is no package /nowhere/skep.deb'],
  [
    ['up', '--package', '/run/skep.deb'],
    '/run/skep.deb: nodes see the machine’s directories but /tmp and /run',
  ],
  [['up', '--balancer', 'lvs'], '--balancer must be one of ipvs, ebpf, auto, not "lvs"'],
])('skep lab %j is refused with a reason', async (args, reason) => {
  const { exitCode, stderr } = await tryHostCommand(skepLab(...args));
  expect({ exitCode, named: stderr.includes(reason) ? reason : stderr }).toEqual({
    exitCode: 2,
    named: reason,
  });
});
