/**
 * What the package's scripts do, by the commands that they run: in a root of their own (DPKG_ROOT), with stubs in the place of
 * systemd's helpers, the docker CLI and our own programs. Their first words are Debian policy's, chapter 6.5.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const packaging = resolve(import.meta.dirname, '../../../packaging');
const api = 'unix:///run/skep/docker.sock';

/** Writes down how it was called; fails where FAILING matches that; is the docker CLI with one context, or none. */
const stub = `#!/bin/sh
call="\${0##*/} $*"
echo "$call" >>"$CALLS"
if [ -n "$FAILING" ] && echo "$call" | grep -qE "$FAILING"; then exit 1; fi
case $call in
'getent passwd 0') echo root:x:0:0:root:/root:/bin/sh ;;
'docker context inspect'*) if [ -n "$CONTEXT" ]; then echo "$CONTEXT"; else exit 1; fi ;;
esac
`;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'skep-root-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const put = (path: string, text = ''): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};

interface Host {
  /** Default true. */
  readonly systemd?: boolean;
  /** Where the docker CLI's context `skep` leads to; absent: there is none. */
  readonly context?: string;
  /** Calls that fail. */
  readonly failing?: string;
}

function run(
  script: string,
  args: readonly string[],
  { systemd = true, context = '', failing = '' }: Host = {},
) {
  const program = (path: string): void => {
    put(path, stub);
    chmodSync(join(root, path), 0o755);
  };
  for (const name of ['docker', 'systemctl', 'deb-systemd-helper', 'deb-systemd-invoke', 'getent'])
    program(join('stubs', name));
  program('usr/lib/skep/node');
  program('usr/bin/skep');
  if (systemd) mkdirSync(join(root, 'run/systemd/system'), { recursive: true });
  const calls = join(root, 'calls');
  writeFileSync(calls, '');
  const { status, stderr } = spawnSync('sh', [join(packaging, script), ...args], {
    encoding: 'utf8',
    env: {
      PATH: `${join(root, 'stubs')}:/usr/bin:/bin`,
      DPKG_ROOT: root,
      CALLS: calls,
      CONTEXT: context,
      FAILING: failing,
    },
  });
  const lines = readFileSync(calls, 'utf8').replaceAll(root, '').split('\n');
  return {
    status,
    stderr: stderr.replaceAll(root, ''),
    calls: lines.filter(
      (line) => line !== '' && !line.startsWith('getent') && !line.includes('context inspect'),
    ),
  };
}

const enabling = ['skep-dataplane.service', 'skepd.service'].flatMap((unit) => [
  `deb-systemd-helper unmask ${unit}`,
  `deb-systemd-helper --quiet was-enabled ${unit}`,
  `deb-systemd-helper enable ${unit}`,
]);
const creating = `docker context create skep --description Swarm mode of this host, by Skep --docker host=${api}`;
const uninstall = (request: string): string => `node /usr/lib/skep/dist/uninstall/main.js ${request}`;

test('installed: enabled, remembered, started in order, with a context for root', () => {
  expect(run('postinst', ['configure', ''])).toEqual({
    status: 0,
    stderr: '',
    calls: [
      ...enabling,
      creating,
      'systemctl --system daemon-reload',
      uninstall('remember'),
      'deb-systemd-invoke start skep-dataplane.service',
      'deb-systemd-invoke start skepd.service',
    ],
  });
});

test('upgraded: the dataplane is restarted first, once the settings are found good', () => {
  put('usr/lib/skep/dist/cli/config.js');
  expect(run('postinst', ['configure', '0.0.9'], { context: api }).calls).toEqual([
    ...enabling,
    'systemctl --system daemon-reload',
    'skep config check',
    uninstall('remember'),
    'deb-systemd-invoke restart skep-dataplane.service',
    'deb-systemd-invoke restart skepd.service',
  ]);
});

test('upgraded with settings that this version refuses: the daemons of before run on', () => {
  put('usr/lib/skep/dist/cli/config.js');
  const { status, stderr, calls } = run('postinst', ['configure', '0.0.9'], { failing: 'config check' });
  expect(status).toBe(1);
  expect(stderr).toMatch(/does not take .*skep\.toml[^]*meaning:[^]*to do:/);
  expect(calls.filter((call) => call.startsWith('deb-systemd-invoke'))).toEqual([]);
});

test.each<[name: string, args: string[], host: Host, said: RegExp, notCalled: RegExp]>([
  [
    'no systemd: nothing is started',
    ['configure', ''],
    { systemd: false },
    /^$/,
    /^deb-systemd-invoke|^node/,
  ],
  [
    'what an administrator has disabled stays so',
    ['configure', '1'],
    { failing: 'was-enabled' },
    /^$/,
    /^deb-systemd-helper enable/,
  ],
  [
    'a context of another meaning stays',
    ['configure', ''],
    { context: 'ssh://elsewhere' },
    /leads to ssh:\/\/elsewhere/,
    /context (create|rm)/,
  ],
  [
    'a daemon that does not start is told of',
    ['configure', ''],
    { failing: 'start skepd' },
    /skepd\.service did not start[^]*to do: .*journalctl/,
    /^never$/,
  ],
  ['an upgrade that is taken back', ['abort-upgrade', '1'], {}, /^$/, /./],
])('postinst: %s', (_, args, host, said, notCalled) => {
  const { status, stderr, calls } = run('postinst', args, host);
  expect(status).toBe(0);
  expect(stderr).toMatch(said);
  expect(calls.filter((call) => notCalled.test(call))).toEqual([]);
});

test('removed: control plane, traces, dataplane, run directory, context, in this order; state stays', () => {
  for (const path of ['run/skep/tasks/t/secret', 'var/lib/skep/swarm/etcd/x', 'root/.docker/contexts/meta/x'])
    put(path);
  mkdirSync(join(root, 'run/netns'), { recursive: true });
  put('run/docker/plugins/other.sock');
  const { status, stderr, calls } = run('prerm', ['remove'], { context: api });
  expect({ status, stderr, calls }).toEqual({
    status: 0,
    stderr: '',
    calls: [
      'deb-systemd-invoke stop skepd.service',
      'systemctl --system start skep-dataplane.service',
      uninstall('empty'),
      'deb-systemd-invoke stop skep-dataplane.service',
      'docker context rm --force skep',
    ],
  });
  const left = (path: string): boolean => existsSync(join(root, path));
  expect(['run/skep', 'run/netns'].filter(left)).toEqual([]);
  expect(
    ['run/docker/plugins', 'var/lib/skep/swarm', 'root/.docker/contexts/meta/x'].filter(
      (path) => !left(path),
    ),
  ).toEqual([]);
});

test.each<[name: string, args: string[], host: Host, said: RegExp, notCalled: RegExp]>([
  ['an upgrade stops nothing', ['upgrade', '2'], { context: api }, /^$/, /./],
  ['no systemd: nothing runs', ['remove'], { systemd: false }, /^$/, /stop|node/],
  ['a context of another meaning stays', ['remove'], { context: 'ssh://elsewhere' }, /^$/, /context rm/],
  ['no context', ['remove'], {}, /^$/, /context rm/],
  ['something is left: removed all the same', ['remove'], { failing: 'main.js empty' }, /^$/, /^never$/],
])('prerm: %s', (_, args, host, said, notCalled) => {
  const { status, stderr, calls } = run('prerm', args, host);
  expect(status).toBe(0);
  expect(stderr).toMatch(said);
  expect(calls.filter((call) => notCalled.test(call))).toEqual([]);
});

test('removed from a node of a swarm: what that means is said', () => {
  put('var/lib/skep/swarm/membership.json', '{}');
  expect(run('prerm', ['remove']).stderr).toMatch(/part of a swarm[^]*meaning:[^]*docker node rm/);
});

test("purged: nothing is left but what is the administrator's", () => {
  for (const path of ['var/lib/skep/host.json', 'etc/default/skepd', 'etc/default/docker', 'etc/skep/ca.pem'])
    put(path);
  expect(run('postrm', ['purge'])).toEqual({
    status: 0,
    stderr: '',
    calls: [
      'deb-systemd-helper purge skep-dataplane.service',
      'deb-systemd-helper purge skepd.service',
      'systemctl --system daemon-reload',
    ],
  });
  expect(['var/lib/skep', 'etc/default/skepd'].filter((path) => existsSync(join(root, path)))).toEqual([]);
  expect(existsSync(join(root, 'etc/default/docker'))).toBe(true);
  expect(existsSync(join(root, 'etc/skep/ca.pem'))).toBe(true);
  rmSync(join(root, 'etc/skep/ca.pem'));
  run('postrm', ['purge']);
  expect(existsSync(join(root, 'etc/skep'))).toBe(false);
});

test.each(['remove', 'upgrade', 'abort-install'])('postrm %s removes nothing', (action) => {
  put('var/lib/skep/host.json');
  const { status } = run('postrm', [action]);
  expect(status).toBe(0);
  expect(existsSync(join(root, 'var/lib/skep/host.json'))).toBe(true);
});

test.each<[args: string[], status: number, said: RegExp]>([
  [['--help'], 0, /^ *install\.sh \[--package FILE\]/m],
  [['--purge'], 1, /--purge is for --uninstall[^]*meaning:[^]*to do:/],
  [['--package'], 1, /--package names no file/],
  [['--package', 'x.deb', '--uninstall'], 1, /--package is not for --uninstall/],
  [['--frobnicate'], 1, /--frobnicate is no option/],
])('install.sh %j', (args, status, said) => {
  const script = resolve(packaging, '../install.sh');
  const { status: ended, stdout, stderr } = spawnSync('sh', [script, ...args], { encoding: 'utf8' });
  expect(ended).toBe(status);
  expect(stdout + stderr).toMatch(said);
});

test('the shell takes every script', () => {
  for (const script of ['packaging/postinst', 'packaging/prerm', 'packaging/postrm', 'install.sh'])
    execFileSync('sh', ['-n', resolve(packaging, '..', script)]);
  execFileSync('bash', ['-n', resolve(packaging, '../scripts/package.sh')]);
});
