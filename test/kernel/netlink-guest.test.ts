/**
 * The codec against Linux 6.1 with IPVS. This machine's own kernel need not have it: a user-mode Linux guest (Debian's
 * user-mode-linux, kernel 6.1) boots on the host's file system, runs the scenario and prints what it saw.
 */
import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Look, Result } from './netlink-guest-scenario.js';

const root = resolve(import.meta.dirname, '../..');
const bootDeadlineMs = 100_000;
let work: string;
let result: Result;

/** Compiles what the scenario needs, file by file, into a tree of the same shape with the addon beside it. */
function compile(directory: string): void {
  const folders = ['src/model', 'src/dataplane/netlink'];
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(folder, name)),
  );
  for (const file of [...files, 'src/runtime/native.ts', 'test/kernel/netlink-guest-scenario.ts']) {
    if (!file.endsWith('.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(join(root, file), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        verbatimModuleSyntax: true,
      },
    });
    const target = join(directory, file.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, outputText);
  }
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  symlinkSync(join(root, 'native'), join(directory, 'native'));
}

/** Boots the guest and gives all that it printed. Killed at the deadline. */
function boot(directory: string): Promise<string> {
  const name = `skeptest-guest-${process.pid}`;
  const guest = spawn(
    'taskset',
    [
      // On one processor a system call of a guest costs half.
      ...['-c', '0', 'linux.uml'],
      'quiet',
      'rootfstype=hostfs',
      'rootflags=/',
      'rw',
      'mem=512M',
      `init=${join(root, 'test/kernel/netlink-guest.sh')}`,
      'con=null',
      'con0=null,fd:1',
      `umid=${name}`,
      `uml_dir=${directory}/uml`,
      `work=${directory}`,
      `checkout=${root}`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], detached: true },
  );
  return new Promise((done, failed) => {
    let output = '';
    const timer = setTimeout(() => {
      // UML is several processes of one group; the group is ours alone.
      if (guest.pid) process.kill(-guest.pid, 'SIGKILL');
    }, bootDeadlineMs);
    guest.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    guest.on('error', failed);
    guest.on('close', () => {
      clearTimeout(timer);
      done(output);
    });
  });
}

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'skeptest-guest-'));
  compile(work);
  const output = await boot(work);
  const lines = output.split(/\r?\n/).filter((line) => line.startsWith('@@'));
  const exit = lines.pop();
  if (exit !== '@@exit 0') throw new Error(`the guest failed:\n${output.slice(-4000)}`);
  // How the bytes in test/unit/netlink were had.
  if (process.env['SKEP_RECORD']) writeFileSync(process.env['SKEP_RECORD'], output);
  result = JSON.parse(lines.map((line) => line.slice(2)).join('')) as Result;
}, bootDeadlineMs + 10_000);

afterAll(() => rmSync(work, { recursive: true, force: true }));

const look = (step: string): Look => {
  const found = result.looks.find((candidate) => candidate.step === step);
  if (!found) throw new Error(`no look at: ${step}`);
  return found;
};

const methodLetters = { masquerade: '-m', directRoute: '-g', tunnel: '-i', localNode: '-l', bypass: '-b' };
const withPort = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** What we read, in the words of `ipvsadm -Sn`. */
function asIpvsadm({ ours }: Look): string[] {
  return ours.flatMap(({ server: { key, scheduler, persistenceS, onePacket, fallback }, reals }) => {
    const name =
      key.kind === 'fwmark'
        ? `-f ${key.fwmark}${key.family === 6 ? ' -6' : ''}`
        : `-${key.protocol[0]} ${withPort(key.address, key.port)}`;
    const persistence = persistenceS === null ? '' : ` -p ${persistenceS}`;
    return [
      `-A ${name} -s ${scheduler}${persistence}${onePacket ? ' -o' : ''}${fallback ? ' -b mh-fallback' : ''}`,
      ...reals.map(
        (real) =>
          `-a ${name} -r ${withPort(real.address, real.port)} ${methodLetters[real.forwarding]} -w ${real.weight}`,
      ),
    ];
  });
}

describe('IPVS', () => {
  test('what we read is what ipvsadm prints, after every change', () => {
    for (const step of result.looks) {
      const normalise = (lines: readonly string[]): string[] =>
        lines.map((line) => line.replace(/ +/g, ' ').trim()).sort();
      expect(normalise(asIpvsadm(step)), step.step).toEqual(normalise(step.ipvsadm));
    }
  });

  test('a fwmark service with NAT and direct routing destinations', () => {
    const { ours, thresholds } = look('a fwmark service with a NAT and a direct routing destination');
    expect(thresholds).toMatch(/10\.0\.1\.4:0 +100 +50 /);
    expect(ours).toHaveLength(1);
    expect(ours[0]?.server).toMatchObject({
      key: { kind: 'fwmark', family: 4, fwmark: 0x5e001f90 },
      scheduler: 'rr',
      persistenceS: null,
    });
    expect(ours[0]?.reals).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ address: '10.0.1.3', port: 8080, forwarding: 'masquerade', weight: 1 }),
        expect.objectContaining({
          address: '10.0.1.4',
          port: 0,
          forwarding: 'directRoute',
          weight: 3,
          upperThreshold: 100,
          lowerThreshold: 50,
        }),
      ]),
    );
  });

  test('changes and removals', () => {
    const [drained] = look('drained, another scheduler, persistent').ours;
    expect(drained?.server).toMatchObject({ scheduler: 'wrr', persistenceS: 300 });
    expect(drained?.reals.find(({ address }) => address === '10.0.1.3')?.weight).toBe(0);
    const [maglev] = look('by the client, passing over the drained').ours;
    expect(maglev?.server).toMatchObject({ scheduler: 'mh', persistenceS: null, fallback: true });
    expect(look('both families, by mark and by address').ours).toHaveLength(4);
    const after = look('removed one destination and one service').ours;
    expect(after).toHaveLength(3);
    expect(
      after.find(({ server }) => server.key.kind === 'fwmark' && server.key.family === 4)?.reals,
    ).toHaveLength(1);
    expect(look('flushed').ours).toEqual([]);
  });

  test('the namespace has tables of its own', () => {
    expect(result.host).toEqual([]);
  });

  test('refusals by errno', () => {
    expect(result.refusals).toEqual({
      'same service': 'EEXIST',
      'same destination': 'EEXIST',
      'unknown scheduler': 'ENOENT',
      'absent service': 'ESRCH',
      'absent destination': 'ENOENT',
      'list of an absent service': 'accepted',
    });
  });

  test('timeouts: those set change, the others stay', () => {
    expect(result.timeouts.ours).toEqual({ tcpS: 7200, tcpFinS: 120, udpS: 60 });
    expect(result.timeouts.ipvsadm).toBe('Timeout (tcp tcpfin udp): 7200 120 60');
  });
});

test('rtnetlink on this kernel', () => {
  const { links, addresses, neighbours, fdb, routes, ownTable, absentTable, rules } = result.route;
  const named = (name: string) => links.find((link) => link.name === name);
  const [bridge, vxlan] = [named('br0')?.index, named('vxlan0')?.index];
  expect(named('vxlan0')).toMatchObject({
    master: bridge,
    up: true,
    vxlan: { vni: 4097, port: 4789, learning: false },
    port: { learning: false, neighSuppress: true },
  });
  expect(named('skp1')).toMatchObject({ kind: 'veth', master: bridge, peerIndex: named('skc1')?.index });
  expect(addresses.map(({ address }) => address)).toEqual(expect.arrayContaining(['10.0.1.2', 'fd00:1::2']));
  expect(neighbours).toContainEqual({
    index: bridge,
    address: '10.0.1.7',
    mac: '02:42:00:00:00:07',
    state: 'permanent',
    protocol: 94,
  });
  const mac = '02:42:00:00:00:07';
  expect(fdb.filter((entry) => entry.mac === mac)).toEqual(
    expect.arrayContaining([
      { index: vxlan, mac, table: 'self', state: 'permanent', dst: '192.0.2.2', bridge: null, vlan: null },
      { index: vxlan, mac, table: 'master', state: 'static', dst: null, bridge, vlan: null },
    ]),
  );
  expect(routes.map(({ destination }) => destination).sort()).toEqual(['240.0.1.5/32', '::/0']);
  expect(ownTable).toMatchObject([{ destination: '::/0', gateway: 'fd00:1::1', table: 24100 }]);
  expect(absentTable).toEqual([]);
  expect(rules.filter(({ protocol }) => protocol === 94)).toMatchObject([
    { priority: 5, source: '240.1.0.0/18', table: 24100 },
  ]);
});
