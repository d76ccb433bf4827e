/** Parameters of a namespace, which stay open between two looks: what is read is what is so now, whoever changed it. */
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Sysctls } from '../../src/dataplane/kernel/sysctls.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { TestNetns } from '../support/netns.js';

const forwarding = 'net/ipv4/ip_forward';
const ofDevice = 'net/ipv4/conf/pair0/rp_filter';

let undo: CleanupStack;
let netns: TestNetns;
let sysctls: Sysctls;

beforeEach(() => {
  undo = new CleanupStack();
  netns = undo.use(TestNetns.create());
  sysctls = undo.use(new Sysctls(netns.path));
});
afterEach(() => undo[Symbol.asyncDispose]());

const values = (): Record<string, string> =>
  Object.fromEntries(sysctls.observe([forwarding, ofDevice]).map(({ path, value }) => [path, value]));
const set = (path: string, value: string): Promise<unknown> =>
  netns.run('sysctl', '-qw', `${path.replaceAll('/', '.')}=${value}`);
const addPair = (): Promise<unknown> =>
  netns.run('ip', 'link', 'add', 'pair0', 'type', 'veth', 'peer', 'pair1');

test('a change by anybody shows once, one of ours does not', async () => {
  await addPair();
  sysctls.observe([forwarding, ofDevice]);
  expect(sysctls.refresh()).toBe(false);
  await set(forwarding, '1');
  expect([sysctls.refresh(), sysctls.refresh()]).toEqual([true, false]);
  sysctls.write({ kind: 'sysctl', path: ofDevice, value: '2' });
  expect(sysctls.refresh()).toBe(false);
  expect(values()).toEqual({ [forwarding]: '1', [ofDevice]: '2' });
});

test('those of a device go with it and are those of its successor', async () => {
  expect(Object.keys(values())).toEqual([forwarding]);
  await addPair();
  await set(ofDevice, '2');
  expect(sysctls.refresh()).toBe(true);
  expect(values()).toMatchObject({ [ofDevice]: '2' });
  await netns.run('ip', 'link', 'del', 'pair0');
  expect([sysctls.refresh(), sysctls.refresh()]).toEqual([true, false]);
  await addPair();
  await set(ofDevice, '1');
  expect(sysctls.refresh()).toBe(true);
  await netns.run('ip', 'link', 'del', 'pair0');
  await addPair();
  await set(ofDevice, '2');
  expect(values()).toMatchObject({ [ofDevice]: '2' });
});

test('what lies open keeps no namespace there, and is closed in the end', async () => {
  const before = readdirSync('/proc/self/fd').length;
  await netns.run(
    'ip',
    'link',
    'add',
    'pair0',
    'type',
    'veth',
    'peer',
    'skt-sysctl',
    'netns',
    String(process.pid),
  );
  expect(existsSync('/sys/class/net/skt-sysctl')).toBe(true);
  expect(Object.keys(values())).toHaveLength(2);
  await netns[Symbol.asyncDispose]();
  // The other end goes with the namespace.
  await expect.poll(() => existsSync('/sys/class/net/skt-sysctl'), { timeout: 10_000 }).toBe(false);
  expect(readdirSync('/proc/self/fd').length).toBe(before + 2);
  sysctls[Symbol.dispose]();
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});
