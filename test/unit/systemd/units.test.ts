/**
 * The units of a real host: the dataplane goes before the engine, the control plane after both, and systemd takes them. Their
 * sandboxes are as tight as they were, and the dataplane's is none that would hide its mounts from the host.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const checkout = resolve(import.meta.dirname, '../../..');
const installed = '/usr/lib/skep';
/** Where all tests are run, scripts/setup.sh has installed it: there it is to be. */
const cannotAnalyze = !existsSync('/usr/bin/systemd-analyze') && process.env['CI'] === undefined;
const names = ['skep-dataplane.service', 'skepd.service'] as const;
const textOf = (name: string): Promise<string> => readFile(join(checkout, 'systemd', name), 'utf8');
/** Words of all settings of a name. */
const settings = (text: string, name: string): string[] =>
  text
    .split('\n')
    .flatMap((row) => (row.startsWith(`${name}=`) ? row.slice(name.length + 1).split(' ') : []));

test('skep-dataplane starts before the engine, and whoever starts the engine starts it', async () => {
  const text = await textOf('skep-dataplane.service');
  expect(settings(text, 'Before')).toContain('docker.service');
  expect(settings(text, 'WantedBy')).toContain('docker.service');
  expect(settings(text, 'After')).not.toContain('docker.service');
  // An engine that is started again must not take it along.
  for (const bond of ['Requires', 'BindsTo', 'PartOf']) expect(settings(text, bond)).toEqual([]);
});

test('skepd starts after both, and leaves etcd when it is stopped', async () => {
  const text = await textOf('skepd.service');
  expect(settings(text, 'After')).toEqual(
    expect.arrayContaining(['skep-dataplane.service', 'docker.service']),
  );
  expect(settings(text, 'KillMode')).toEqual(['process']);
  for (const bond of ['Requires', 'BindsTo', 'PartOf']) expect(settings(text, bond)).toEqual([]);
});

test.skipIf(cannotAnalyze)('what they start is there, and systemd finds no fault', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skep-units-'));
  try {
    const paths: string[] = [];
    for (const name of names) {
      const text = (await textOf(name)).replaceAll(installed, checkout);
      for (const path of settings(text, 'ExecStart')) expect(existsSync(path), path).toBe(true);
      paths.push(join(directory, name));
      await writeFile(join(directory, name), text);
    }
    const { stderr } = await promisify(execFile)('systemd-analyze', ['verify', '--man=no', ...paths]);
    expect(stderr.split('\n').filter((row) => row.includes(directory))).toEqual([]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** systemd.exec(5): what gives a service a mount namespace of its own. */
const mountNamespaces = [
  ...[
    'ProtectSystem',
    'ProtectHome',
    'ProtectProc',
    'ProcSubset',
    'ProtectControlGroups',
    'ProtectKernelLogs',
  ],
  ...[
    'ProtectKernelModules',
    'ProtectKernelTunables',
    'PrivateDevices',
    'PrivateIPC',
    'PrivateMounts',
    'PrivateTmp',
  ],
  ...[
    'BindPaths',
    'BindReadOnlyPaths',
    'ExecPaths',
    'InaccessiblePaths',
    'MountFlags',
    'NoExecPaths',
    'ReadOnlyPaths',
  ],
  ...['ReadWritePaths', 'RootDirectory', 'RootImage', 'TemporaryFileSystem', 'DynamicUser', 'LogNamespace'],
];

test("names of namespaces that skep-dataplane makes are the host's", async () => {
  const text = await textOf('skep-dataplane.service');
  expect(mountNamespaces.filter((name) => settings(text, name).length > 0)).toEqual([]);
  expect(settings(text, 'RestrictNamespaces')).toEqual(['net']);
});

test('what the daemons share outlives either', async () => {
  for (const name of names) {
    const text = await textOf(name);
    expect(settings(text, 'RuntimeDirectory')).toEqual(['skep']);
    expect(settings(text, 'RuntimeDirectoryPreserve')).toEqual(['yes']);
    expect(settings(text, 'StateDirectory')).toEqual(['skep']);
  }
});

/** 0 to 10, as `systemd-analyze security` counts: 9.6 for a service that is told nothing. */
const exposureMax = { 'skep-dataplane.service': 4.8, 'skepd.service': 2.8 };

test.skipIf(cannotAnalyze).each(names)('the sandbox of %s lets no more through than it did', async (name) => {
  const argv = ['security', '--no-pager', '--offline=true', join(checkout, 'systemd', name)];
  const { stdout } = await promisify(execFile)('systemd-analyze', argv);
  const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]);
  expect(exposure).toBeGreaterThan(0);
  expect(exposure).toBeLessThanOrEqual(exposureMax[name]);
});
