import assert from 'node:assert';
import { test } from 'vitest';
import type { Balancer, CheckName, Finding, Findings } from '../../../../src/cli/doctor/diagnosis.js';
import { balancerOf, checks, diagnose } from '../../../../src/cli/doctor/diagnosis.js';
import { isSupportedEngine, routesFinding } from '../../../../src/cli/doctor/probes.js';
import { statusLines } from '../../../../src/cli/verify.js';
import type { Cidr } from '../../../../src/model/addresses.js';

/** Everything there, but for what is named. */
function findings(exceptions: Partial<Record<CheckName, Finding['result']>>): Findings {
  const names = Object.keys(checks) as CheckName[];
  return Object.fromEntries(
    names.map((name) => [name, { result: exceptions[name] ?? 'ok', detail: '' }]),
  ) as unknown as Findings;
}

type Case = [
  name: string,
  exceptions: Parameters<typeof findings>[0],
  modules: boolean,
  command: string | null,
];
const cases: Case[] = [
  ['all there', {}, true, null],
  [
    'packages in one command',
    { xtCt: 'missing', ipset: 'missing', etcd: 'missing' },
    true,
    'apt-get install -y ipset etcd-server',
  ],
  [
    'modules that can be loaded',
    { bpf: 'missing', xtSet: 'missing', ipVsRr: 'missing' },
    true,
    'modprobe -a ip_vs_rr xt_set',
  ],
  [
    'neither balancer: a module will do for IPVS',
    { ipVs: 'missing', bpf: 'missing', clsact: 'unknown' },
    true,
    'modprobe -a ip_vs',
  ],
  [
    'neither balancer and no modules',
    { ipVs: 'missing', clsact: 'missing' },
    false,
    'apt-get install -y linux-image-amd64 && reboot',
  ],
  ['no IPVS where BPF is there', { ipVs: 'missing', ipVsRr: 'missing', xtSet: 'unknown' }, false, null],
  ['no BPF where IPVS is there', { bpf: 'missing', clsact: 'unknown', xtCt: 'missing' }, true, null],
  ['BPF that is interpreted where IPVS is there', { bpfJit: 'missing', xtCt: 'missing' }, true, null],
  ['BPF that is interpreted and nothing else', { ipVs: 'missing', bpfJit: 'missing' }, false, null],
  ['no IPVS, and BPF lacks a module', { ipVs: 'missing', xtCt: 'missing' }, true, 'modprobe -a xt_CT'],
  ['a kernel without VXLAN', { vxlan: 'missing' }, true, 'apt-get install -y linux-image-amd64 && reboot'],
  [
    'what could not be tried asks for nothing by itself',
    { iptablesRestore: 'missing', xtMark: 'unknown', xtSet: 'unknown' },
    true,
    'apt-get install -y iptables',
  ],
  [
    'no engine',
    { engine: 'missing', engineSwarm: 'unknown' },
    true,
    'apt-get install -y docker.io && systemctl enable --now docker',
  ],
  [
    'an engine in swarm mode',
    { engineSwarm: 'missing' },
    true,
    'docker -H unix:///var/run/docker.sock swarm leave --force',
  ],
  ['not root', { root: 'missing', vxlan: 'unknown' }, true, 'sudo skep doctor'],
];

for (const [name, exceptions, hasModules, command] of cases)
  test(`diagnose: ${name}`, () => {
    const found = findings(exceptions);
    const diagnosis = diagnose(found, hasModules, balancerOf(found));
    assert.equal(diagnosis.command, command);
    assert.equal(diagnosis.healthy, command === null);
    for (const bad of Object.keys(exceptions) as CheckName[])
      assert.ok(
        diagnosis.lines.some(
          (line) =>
            !line.startsWith('ok') &&
            line.includes(checks[bad].title) &&
            (line.includes(checks[bad].why) ||
              /^unneeded .* only the engine (ipvs|ebpf) needs it$/.test(line)),
        ),
        `${bad} is told with its reason`,
      );
  });

test('diagnose: the engine is named, and what it needs is what somebody said it is', () => {
  const noBpf = findings({ bpf: 'missing', clsact: 'unknown' });
  const said = (balancer: Balancer): [boolean, string | undefined] => {
    const { healthy, lines } = diagnose(noBpf, true, balancer);
    return [healthy, lines.at(-1)];
  };
  assert.deepEqual(said(balancerOf(noBpf)), [
    true,
    'Balancer engine: ipvs (what skep-dataplane would choose here)',
  ]);
  assert.deepEqual(said({ name: 'ebpf', from: 'configuration' }), [
    false,
    'Balancer engine: ebpf (the option [balancer] engine says so)',
  ]);
  assert.deepEqual(said({ name: 'ipvs', from: 'skep-dataplane' }), [
    true,
    'Balancer engine: ipvs (skep-dataplane uses it)',
  ]);
});

test('isSupportedEngine: 20.10 and later', () => {
  const versions = ['19.03.15', '20.9.0', '20.10.0', '20.10.24+dfsg1', '28.2.2', 'dev'];
  assert.deepEqual(versions.map(isSupportedEngine), [false, false, true, true, true, false]);
});

test('statusLines', () => {
  const lines = statusLines({
    desiredRevision: 3,
    programmedRevision: 0,
    lastError: '',
    driftRepairs: 2,
    engine: 'ipvs',
    esp: true,
    espEpoch: 1,
    silentNodes: ['n2', 'n3'],
  });
  assert.deepEqual(
    lines.map((line) => line.split(/ {2,}/)[1]),
    ['ipvs', '3', 'none', '2 operations', 'n2, n3', 'none'],
  );
});

test('an overlay over a route of this host is told with both', () => {
  const routes = [
    { destination: '10.0.0.0/8' as Cidr, device: 'tun0' },
    { destination: '192.0.2.0/24' as Cidr, device: 'eth0' },
  ];
  const found = (subnet: string): Finding => routesFinding(routes, [{ name: 'mynet', subnet }]);
  assert.deepEqual(found('172.30.0.0/24'), { result: 'ok', detail: '' });
  assert.deepEqual(found('10.0.1.0/24'), {
    result: 'missing',
    detail: '10.0.1.0/24 of network mynet overlaps 10.0.0.0/8 dev tun0',
  });
});
