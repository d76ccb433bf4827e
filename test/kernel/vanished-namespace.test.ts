/**
 * Namespaces that go while they are known. A container's: the engine takes the mount away first and the file later. An
 * overlay's: somebody who has it open keeps it, and our links in it, after its name is gone.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../src/runtime/native.js';
import type { Op } from '../../src/dataplane/plan/diff.js';
import type { Ip, Mac } from '../../src/model/addresses.js';
import type { Vni } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

test('a namespace that is no longer mounted is none, not a failure', async () => {
  await using undo = new CleanupStack();
  const netns = undo.use(TestNetns.create());
  const kernel = undo.use(new LinuxKernel());
  const scope = { kind: 'sandbox', path: netns.path } as const;
  const observe = async (): Promise<boolean> =>
    (await kernel.observe(scope, ['net/ipv4/conf/all/rp_filter'], true, null)).exists;
  expect(await observe()).toBe(true);
  execFileSync('umount', [netns.path]);
  expect(await observe()).toBe(false);
  // As it is found by whoever comes later.
  kernel.forget(scope);
  expect(await observe()).toBe(false);
});

describe('an overlay’s namespace that lost its name while the daemon was away, and is held open', () => {
  const vtep = '192.0.2.1' as Ip;
  const scope = { kind: 'overlay', vni: 4097 as Vni } as const;
  const ops: Op[] = [
    { op: 'add', object: { kind: 'namespace' } },
    {
      op: 'add',
      object: { kind: 'link', name: 'br0', type: 'bridge', mac: '02:42:0a:00:01:fa' as Mac, up: true },
    },
    {
      op: 'add',
      object: {
        kind: 'link',
        name: 'vxlan0',
        type: 'vxlan',
        vxlan: { vni: scope.vni, port: 4789, local: vtep, learning: false },
        mtu: 1450,
        up: true,
        master: 'br0',
      },
    },
    {
      op: 'add',
      object: {
        kind: 'link',
        name: 'skp1',
        type: 'veth',
        mtu: 1450,
        up: true,
        master: 'br0',
        peer: { name: 'skc1', mac: '02:42:0a:00:01:03' as Mac, mtu: 1450 },
      },
    },
  ];
  const world = async (undo: CleanupStack) => {
    const host = undo.use(TestNetns.create());
    await host.ip('link set lo up');
    await host.ip(`addr add ${vtep}/24 dev lo`);
    const directory = mkdtempSync(join(tmpdir(), 'skep-netns-'));
    undo.defer(() => rmSync(directory, { recursive: true, force: true }));
    const start = (): LinuxKernel => new LinuxKernel({ hostNetns: host.path, netnsDirectory: directory });
    const path = join(directory, 'skep-4097');
    undo.defer(() => native().deleteNetns(path));
    const hold = async (): Promise<(command: string) => string> => {
      const holder = spawn('nsenter', [`--net=${path}`, 'sleep', '60'], { stdio: 'ignore' });
      undo.defer(async () => {
        holder.kill();
        await once(holder, 'exit');
      });
      const inside = (command: string): string =>
        execFileSync('nsenter', ['-t', String(holder.pid), '-n', ...command.split(' ')], {
          encoding: 'utf8',
        });
      await expect.poll(() => inside('ip -o link')).toContain('vxlan0');
      return inside;
    };
    return { host, path, start, hold };
  };

  test('makes way for its successor', async () => {
    await using undo = new CleanupStack();
    const { host, path, start, hold } = await world(undo);
    const before = start();
    await before.apply(scope, ops);
    const inside = await hold();
    before[Symbol.dispose]();
    native().deleteNetns(path);

    const after = undo.use(start());
    await after.apply(scope, ops);
    expect(inside('ip -o link')).not.toMatch(/vxlan0|skp1/);
    expect(inside('ip -o link')).toContain('br0');
    const { objects } = await after.observe(scope, [], true, []);
    expect(objects).toContainEqual(expect.objectContaining({ kind: 'link', name: 'vxlan0', up: true }));
    expect(objects).toContainEqual(expect.objectContaining({ kind: 'link', name: 'skp1' }));
    // Only the end of the new pair.
    expect((await host.ip('-o link')).match(/skc1@/g)).toHaveLength(1);
  });

  test('a stranger’s with the same number is left alone, and named as what it is', async () => {
    await using undo = new CleanupStack();
    const { host, start } = await world(undo);
    const stranger = undo.use(TestNetns.create());
    const options = 'id 4097 dstport 4789 local 192.0.2.9 nolearning';
    await host.ip(`link add vxlan0 netns ${stranger.name} type vxlan ${options}`);
    await host.ip(`netns set ${stranger.name} 7`);
    await expect(undo.use(start()).apply(scope, ops)).rejects.toThrow('EEXIST');
    expect(await stranger.ip('-o link')).toContain('vxlan0');
  });
});
