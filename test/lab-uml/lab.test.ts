/**
 * What is different about a lab's machines in user-mode Linux: their kernel, the way in over the relay, power cuts, and what they could
 * leave. All else a lab promises is tested on this machine's own kernel (test/lab).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { observeTraces } from '../support/machine-traces.js';

// No lab's name begins with another's: traces are found by it, and both files run at the same time.
const name = 'test-uml-machines';

describe('a lab of two nodes in user-mode Linux', () => {
  let before: string[] = [];
  let lab: Lab;

  beforeAll(async () => {
    await Lab.down(name);
    before = await observeTraces(name);
    lab = await Lab.up({ name, nodes: 2, kernel: 'uml', engineOnly: true, progress: () => undefined });
  }, 240_000);
  afterAll(async () => {
    await Lab.down(name);
  });

  test('a node has its own kernel, IPVS, legacy iptables and one interface', async () => {
    const facts = async (command: string): Promise<string> =>
      (await lab.exec('node1', ['sh', '-c', command])).stdout.trim();
    expect(await facts('ls -d /proc/net/ip_vs')).toBe('/proc/net/ip_vs');
    expect(await facts('iptables -V')).toMatch(/\(legacy\)$/);
    expect(await facts('ls /sys/class/net | grep vec')).toBe('vec0');
  });

  test('exec: a megabyte goes through and comes back, and the exit code is the command’s own', async () => {
    const input = 'x'.repeat(1024 * 1024);
    const { exitCode, stdout, stderr } = await lab.exec('node1', ['sh', '-c', 'cat; echo end >&2; exit 42'], {
      input,
    });
    expect({ exitCode, same: stdout === input, stderr }).toEqual({
      exitCode: 42,
      same: true,
      stderr: 'end\n',
    });
  });

  test('exec: a command whose caller goes away ends', async () => {
    await expect(lab.exec('node1', ['sleep', '7654'], { deadlineMs: 2_000 })).rejects.toThrow('not done');
    const observe = async (): Promise<number> =>
      (await lab.exec('node1', ['pgrep', '-f', 'sleep 7654'])).exitCode;
    await expect.poll(observe, { timeout: 10_000 }).toBe(1);
  });

  test('a power cut keeps the disk and nothing else', async () => {
    const write = 'echo kept >/var/lib/skep/probe; echo kept >/root/probe; echo lost >/run/probe; sync';
    expect((await lab.exec('node2', ['sh', '-c', write])).exitCode).toBe(0);
    const waiting = expect(lab.exec('node2', ['sleep', '7656'])).rejects.toThrow('the node does not answer');
    await lab.kill('node2');
    await waiting;
    await expect(lab.exec('node2', ['true'])).rejects.toThrow('node2 is off');
    await lab.start('node2');
    const read =
      'cat /var/lib/skep/probe /root/probe; cat /run/probe 2>&1; busybox ping -c 1 -W 5 192.168.60.1';
    expect((await lab.exec('node2', ['sh', '-c', read])).stdout).toMatch(
      /^kept\nkept\ncat: \/run\/probe: No such file or directory\n[^]* 1 packets received/,
    );
  });

  test('down leaves nothing', async () => {
    const whileUp = await observeTraces(name);
    for (const trace of ['linux.uml', 'relay.js', `/run/skep-lab/${name}`])
      expect(whileUp.filter((line) => line.includes(trace))).not.toEqual([]);
    expect(await Lab.down(name)).toBe(true);
    expect(await observeTraces(name)).toEqual(before);
  });
});
