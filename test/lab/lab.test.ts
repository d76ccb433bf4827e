/** The lab itself, with engines only: what `skep lab` promises about machines, commands, cuts, power cuts and leaving nothing. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import { Lab, checkout } from '../../src/lab/lab.js';
import { labPaths } from '../../src/lab/layout.js';
import { isAlive, processIds } from '../../src/lab/process-table.js';

const name = 'test-lab';
const otherName = 'test-lab-other';
const upDeadlineMs = 240_000;

/** What a lab could leave behind, as lines; taken before and after. */
async function observeMachine(): Promise<string[]> {
  const processes = processIds()
    .filter(isAlive)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // ended meanwhile
      }
    })
    .filter((command) => command.includes(name) || command.includes('linux.uml'));
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const links = (await hostCommand(['ip', '-br', 'link']))
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '');
  const etc = await hostCommand(['find', '/etc', '-type', 'f', '-printf', '%p %T@ %s\n']);
  const files = ['/run/skep-lab', '/var/lib/skep-lab', '/run/netns'].flatMap((dir) =>
    existsSync(dir) ? readdirSync(dir).map((entry) => `${dir}/${entry}`) : [],
  );
  return [...processes, ...mounts, ...links, ...etc.split('\n'), ...files].sort();
}

const skepLab = (...args: string[]): string[] => [`${checkout}/bin/skep`, 'lab', ...args];

describe('a lab of two nodes', () => {
  let before: string[] = [];
  let lab: Lab;

  beforeAll(async () => {
    await Promise.all([Lab.down(name), Lab.down(otherName)]);
    before = await observeMachine();
    lab = await Lab.up({ name, nodes: 2, engineOnly: true, progress: () => undefined });
  }, upDeadlineMs);
  afterAll(async () => {
    await Promise.all([Lab.down(name), Lab.down(otherName)]);
  });

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

  test('a node looks like a plain host: its own kernel, IPVS, legacy iptables, images, one interface', async () => {
    const facts = async (command: string): Promise<string> =>
      (await lab.exec('node1', ['sh', '-c', command])).stdout.trim();
    expect(await facts('ls -d /proc/net/ip_vs')).toBe('/proc/net/ip_vs');
    expect(await facts('iptables -V')).toMatch(/\(legacy\)$/);
    expect(await facts('ls /sys/class/net | grep vec')).toBe('vec0');
    expect(await facts('echo $DOCKER_HOST')).toBe('unix:///run/skep/docker.sock');
    const images = await facts(
      "docker -H unix:///run/docker.sock images --format '{{.Repository}}:{{.Tag}}' | grep ^skep/ | sort",
    );
    expect(images.split('\n')).toEqual(['skep/busybox:lab', 'skep/nginx:lab', 'skep/whoami:lab']);
    expect(await facts('touch /etc/only-in-the-node && ls /etc/only-in-the-node')).toBe(
      '/etc/only-in-the-node',
    );
    expect(existsSync('/etc/only-in-the-node')).toBe(false);
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

  test('a second lab has the same addresses and sees nothing of the first', async () => {
    const other = await Lab.up({ name: otherName, nodes: 1, engineOnly: true, progress: () => undefined });
    await other.cut('node1', 'client');
    expect((await other.client(['curl', '-s', '-m', '2', 'http://192.168.60.2:8081/'])).exitCode).not.toBe(0);
    expect(await reaches('node1', '192.168.60.200')).toBe(true);
    await Lab.down(otherName);
    expect(await reaches('node1', '192.168.60.2')).toBe(true);
    expect(existsSync(labPaths(otherName).run)).toBe(false);
  });

  test('a power cut keeps the disk and nothing else', async () => {
    const write = 'echo kept >/var/lib/skep/probe; echo kept >/root/probe; echo lost >/run/probe; sync';
    expect((await lab.exec('node2', ['sh', '-c', write])).exitCode).toBe(0);
    await lab.kill('node2');
    expect(lab.status().map(({ state }) => state)).toEqual(['running', 'off']);
    await expect(lab.exec('node2', ['true'])).rejects.toThrow('node2 is off');
    await lab.start('node2');
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

  test('down leaves nothing', async () => {
    await lab.client(['sh', '-c', 'sleep 7655 >/dev/null 2>&1 </dev/null &']);
    expect(await Lab.down(name)).toBe(true);
    expect(await observeMachine()).toEqual(before);
    expect(await Lab.down(name)).toBe(false);
  });
});

test.each([
  [['up', '--nodes', '101'], 'a lab has 1 to 100 nodes, not 101'],
  [['up', '--managers', '4'], '--managers must be 1 to 3'],
  [['status', '--name', '../x'], 'invalid lab name "../x"'],
  [['explode'], 'unknown command "explode"'],
  [['cut', 'node1'], '"cut" takes two nodes'],
  [['up', '--fast'], "Unknown option '--fast'"],
])('skep lab %j is refused with a reason', async (args, reason) => {
  const { exitCode, stderr } = await tryHostCommand(skepLab(...args));
  expect({ exitCode, named: stderr.includes(reason) ? reason : stderr }).toEqual({
    exitCode: 2,
    named: reason,
  });
});
