/**
 * The package on a host with systemd, as its administrator has it: installed with install.sh, used, upgraded, removed, installed again,
 * purged. The daemons run in the sandboxes of their units, so what those forbid is found here. Before and after are compared by
 * what the host holds: files, units, links, namespaces, rules, sets, parameters, the engine's networks and containers, contexts.
 * At last, the sessions of the documentation about the package are typed.
 */
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostCommand, tryHostCommand } from '../../src/lab/host-command.js';
import { ensureImages, importScript } from '../../src/lab/images.js';
import { playedPages } from '../support/documentation/order.js';
import { readPage } from '../support/documentation/page.js';
import { Typist } from '../support/documentation/runner.js';
import { sessionsOf } from '../support/documentation/session.js';
import { eventually } from '../support/lab.js';
import { makePackage, SystemdHost, visibleDirectory } from './systemd-host.js';

const versions = ['1.0.0', '1.0.1'] as const;
const [first, second] = versions;
const convergeMs = 90_000;

let directory: string;
const packages: Record<string, string> = {};
beforeAll(async () => {
  directory = visibleDirectory();
  for (const version of versions) packages[version] = await makePackage(join(directory, version), version);
}, 300_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

/** What the documentation shows of the package, in the order of reading. */
const shown = playedPages
  .flatMap((path) => sessionsOf(readPage(path)))
  .flatMap((block) => (block.kind === 'session' && block.runner === 'package' ? [block] : []));

/** A package's path. */
const made = (version: string): string => packages[version] ?? '';

describe('what is in the package', () => {
  test('programs, units, documents; nothing of tests, labs, or the machine that made it', async () => {
    const listing = await hostCommand(['dpkg-deb', '--contents', made(first)]);
    const rows = listing
      .trimEnd()
      .split('\n')
      .map((row) => row.split(/\s+/));
    const paths = new Map(
      rows.map(([mode = '', owner = '', , , , path = '']) => [path.replace(/^\./, ''), { mode, owner }]),
    );
    const executable = [...paths].filter(
      ([path, { mode }]) => !path.endsWith('/') && mode.startsWith('-rwx'),
    );
    expect(executable.map(([path]) => path).sort()).toEqual(
      ['bin/skep', 'bin/skep-dataplane', 'bin/skepd', 'node'].map((path) => `/usr/lib/skep/${path}`),
    );
    const expected = [
      '/lib/systemd/system/skep-dataplane.service',
      '/lib/systemd/system/skepd.service',
      '/usr/bin/skep',
      '/usr/bin/skep-dataplane',
      '/usr/bin/skepd',
      '/usr/lib/skep/dist/controlplane/main.js',
      '/usr/lib/skep/dist/dataplane/dns/worker.js',
      '/usr/lib/skep/dist/uninstall/main.js',
      '/usr/lib/skep/native/build/Release/skep_native.node',
      '/usr/lib/skep/native/build/bpf/skep.bpf.o',
      '/usr/lib/skep/proto/dataplane.proto',
      '/usr/share/doc/skep/changelog.gz',
      '/usr/share/doc/skep/copyright',
      '/etc/skep/skep.toml',
      '/usr/share/man/man1/skep-config-check.1.gz',
      '/usr/share/man/man8/skepd.8.gz',
      '/usr/share/bash-completion/completions/skep',
    ];
    expect(expected.filter((path) => !paths.has(path))).toEqual([]);
    const strange = /\/dist\/lab\/|node_modules\/(typescript|vitest|eslint|@types)\/|\.tsbuildinfo$|\.node$/;
    expect(
      [...paths.keys()].filter((path) => strange.test(path) && !path.endsWith('/skep_native.node')),
    ).toEqual([]);
    expect([...new Set([...paths.values()].map(({ owner }) => owner))]).toEqual(['root/root']);
    expect(
      [...paths].filter(([, { mode }]) => !mode.startsWith('l') && /^.....w|^........w/.test(mode)),
    ).toEqual([]);
  });

  test('the same tree gives the same octets', async () => {
    const again = await makePackage(join(directory, 'again'), first);
    const digest = async (path: string): Promise<string> =>
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
    expect(await digest(again)).toBe(await digest(made(first)));
    await rm(join(directory, 'again'), { recursive: true });
  }, 120_000);
});

test('installed and purged in a root of its own, without systemd: no file is left', async () => {
  const root = join(directory, 'root');
  const make =
    'mkdir -p var/lib/dpkg/info var/lib/dpkg/updates usr/lib etc/systemd/system root && ln -s usr/lib lib && touch var/lib/dpkg/status';
  await hostCommand(['sh', '-c', `mkdir ${root} && cd ${root} && ${make}`]);
  const listed = (): Promise<string> =>
    hostCommand(['sh', '-c', `cd ${root} && find . -type f -not -path './var/lib/*' | sort`]);
  const before = await listed();
  const dpkg = ['dpkg', `--root=${root}`, '--force-depends', '--force-script-chrootless'];
  await hostCommand([...dpkg, '--install', made(first)], { deadlineMs: 120_000 });
  const wants = ['docker.service.wants/skep-dataplane', 'multi-user.target.wants/skepd'];
  for (const link of wants)
    await hostCommand(['test', '-L', join(root, 'etc/systemd/system', `${link}.service`)]);
  expect((await hostCommand([join(root, 'usr/lib/skep/bin/skep'), '--version'])).trim()).toBe(first);
  const lab = await tryHostCommand([join(root, 'usr/lib/skep/bin/skep'), 'lab', 'ls']);
  expect([lab.exitCode, lab.stderr]).toEqual([2, expect.stringContaining('labs are made from a checkout')]);
  await hostCommand([...dpkg, '--purge', 'skep'], { deadlineMs: 120_000 });
  expect(await listed()).toBe(before);
});

describe('on a host with systemd', () => {
  let host: SystemdHost;
  let untouched: Record<string, string>;

  /** What the host holds, a question a row. `disk`: what lies on it as well. */
  async function holdings(disk: boolean): Promise<Record<string, string>> {
    const questions: Record<string, string> = {
      links: "ip -o link | sed -E 's/^[0-9]+: ([^@:]+).*/\\1/' | sort",
      namespaces: 'ls -A /run/netns 2>/dev/null | sort; grep -c " /run/netns " /proc/self/mountinfo || true',
      rules: 'ip rule; ip -6 rule; ip route show table all proto 94',
      // Tables and built-in chains, empty, stay once somebody has asked for them.
      chains:
        "for t in iptables ip6tables; do $t-save | sed -E 's/ \\[[0-9:]+\\]$//' | grep -E '^-A|^:[^ ]+ (-|DROP)' | sort; done",
      sets: 'ipset list -n',
      // Not their qdiscs: empty, they cost nothing, and may be anybody's.
      filters:
        'for d in $(ls /sys/class/net); do tc filter show dev $d ingress; tc filter show dev $d egress; done',
      pins: 'ls -A /sys/fs/bpf',
      parameters:
        "sysctl -a 2>/dev/null | grep -E '^net.ipv4.(conf.(all|lo)|vs)\\.|local_reserved_ports' | grep -v vs.sync_version",
      networks: 'docker -H unix:///run/docker.sock network ls --format "{{.Name}} {{.Driver}}" | sort',
      containers: 'docker -H unix:///run/docker.sock ps --all --format "{{.Names}}" | sort',
      contexts: 'docker context ls --format "{{.Name}} {{.DockerEndpoint}}"',
      processes: "ps -eo args | grep -E '[/]usr/lib/skep|[e]tcd --' | sort || true",
      run: 'ls -A /run/skep /run/docker/plugins 2>/dev/null || true',
    };
    const onDisk: Record<string, string> = {
      files:
        'find /etc /usr /opt /root /srv -xdev -not -name "*.pyc" -not -name __pycache__ -printf "%p %l %m %U:%G\\n" | sort',
      // The machine's own labs come and go below the host's root.
      state: 'ls -A /var/lib | grep -vx skep-lab | sort',
      units: 'systemctl list-unit-files --no-legend --no-pager | sort',
    };
    const entries = Object.entries({ ...questions, ...(disk ? onDisk : {}) });
    const answers: Record<string, string> = {};
    for (const [name, question] of entries) answers[name] = await host.run(question);
    return answers;
  }

  const install = (version: string): Promise<string> =>
    host.run(`${directory}/${first}/install.sh --package ${made(version)}`, 180_000);
  const docker = (words: string): Promise<string> => host.run(`docker --context skep ${words}`);
  const answer = async (): Promise<string> =>
    (await host.try('curl -sS -m 2 http://192.0.2.1:8080/')).stdout.trim();
  const converged = (): Promise<string> =>
    eventually('two tasks run', convergeMs, () => docker("service ls --format '{{.Replicas}}'"), (replicas) => expect(replicas).toBe('2/2')); // prettier-ignore
  const answering = (): Promise<string> =>
    eventually('the published port answers', 20_000, answer, (text) =>
      expect(text).toMatch(/^[0-9a-f]{12} /),
    );
  const equal = (): Promise<unknown> =>
    eventually('the kernel equals the state', 20_000, () => host.try('skep verify'), ({ exitCode, stdout, stderr }) =>
      expect({ exitCode, said: exitCode === 0 ? '' : stdout + stderr }).toEqual({ exitCode: 0, said: '' })); // prettier-ignore
  /** Unit by unit: state, and how often it had to be started again by itself. */
  const daemons = (): Promise<string> =>
    host.run(
      'for u in skep-dataplane skepd; do echo "$u $(systemctl is-active $u) $(systemctl show -p NRestarts --value $u)"; done',
    );
  const steady = 'skep-dataplane active 0\nskepd active 0';
  /** What the program of the running daemon is, which an upgrade replaces. */
  const programs = (): Promise<string> =>
    host.run(
      'for u in skep-dataplane skepd; do readlink /proc/$(systemctl show -p MainPID --value $u.service)/exe; done',
    );

  beforeAll(async () => {
    const archives = await ensureImages();
    host = await SystemdHost.boot(directory);
    await host.run('systemctl start docker.service');
    await host.run(importScript(archives));
    untouched = await holdings(true);
  }, 240_000);
  afterAll(() => host?.[Symbol.asyncDispose](), 60_000);

  test('installed: the daemons run in their sandboxes, and root has a context', async () => {
    // Nothing here reaches the registries that an image's name may mean; settings of the unit's file are taken.
    await host.run('echo DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1 >/etc/default/skepd');
    const said = await install(first);
    expect(said).toContain('Skep is installed and runs');
    expect(await host.run('skep --version')).toBe(first);
    expect(await daemons()).toBe(steady);
    expect(await host.run('systemctl is-enabled skep-dataplane.service skepd.service')).toBe(
      'enabled\nenabled',
    );
    const caught = await host.run(
      'for u in skep-dataplane skepd; do grep -E "^(NoNewPrivs|Seccomp):" /proc/$(systemctl show -p MainPID --value $u.service)/status; done',
    );
    expect(caught.replaceAll('\t', ' ').split('\n')).toEqual([
      'NoNewPrivs: 1',
      'Seccomp: 2',
      'NoNewPrivs: 1',
      'Seccomp: 2',
    ]);
    expect(await docker("info --format '{{.Swarm.LocalNodeState}}'")).toBe('inactive');
  }, 240_000);

  test('installed: within its sandbox the dataplane can try what the kernel has for the ebpf engine', async () => {
    const program =
      "import('/usr/lib/skep/dist/dataplane/balancer/ebpf-capability.js').then((all) => all.tryEbpf('/sys/fs/bpf/skep-trial')).then((found) => console.log(JSON.stringify(found)))";
    // The daemon's own unit, but for what it runs.
    const unit = [
      'systemctl cat skep-dataplane.service',
      "grep -vE '^(Exec|Type|Restart|Before|Wants|WantedBy|Alias)'",
      `sed "s|^\\[Service\\]|&\\nType=oneshot\\nStandardOutput=file:/run/trial\\nExecStart=/usr/lib/skep/node /run/trial.mjs|"`,
    ].join(' | ');
    await host.run(`cat >/run/trial.mjs <<'END'\n${program}\nEND`);
    await host.run(
      `${unit} >/run/systemd/system/trial.service; systemctl daemon-reload; systemctl start trial.service`,
    );
    const ok = { result: 'ok', detail: '' };
    expect(JSON.parse(await host.run('cat /run/trial'))).toEqual({
      bpf: ok,
      compiled: ok,
      clsact: ok,
      tracking: ok,
    });
    await host.run('rm /run/systemd/system/trial.service /run/trial /run/trial.mjs; systemctl daemon-reload');
  });

  test('a swarm with a service, a published port and a secret', async () => {
    await docker('swarm init --advertise-addr 192.0.2.1');
    await docker('network create --driver overlay mynet');
    await host.run('printf word | docker --context skep secret create key -');
    await docker(
      'service create --detach --no-resolve-image --name web --replicas 2 --network mynet --publish 8080:80 --secret source=key,uid=33,mode=0400 skep/whoami:lab',
    );
    await converged();
    await answering();
    await equal();
    const container = await host.run(
      'docker -H unix:///run/docker.sock ps --quiet --filter name=web | head -n 1',
    );
    expect(await host.run(`docker -H unix:///run/docker.sock exec ${container} cat /run/secrets/key`)).toBe(
      'word',
    );
    // Their names are the host's own, though a service made them.
    expect(await host.run('ls /run/netns')).toMatch(/^skep-\d+/m);
  }, 180_000);

  test('either daemon stopped and started: no namespace, task or etcd ends', async () => {
    const alive = 'ls /run/netns; docker -H unix:///run/docker.sock ps --quiet | sort; pgrep -x etcd';
    const before = await host.run(alive);
    await host.run('systemctl stop skepd.service skep-dataplane.service');
    expect(await host.run(alive)).toBe(before);
    expect(await answer()).toMatch(/^[0-9a-f]{12} /);
    await host.run('systemctl start skep-dataplane.service skepd.service');
    await equal();
    expect(await host.run(alive)).toBe(before);
    await converged();
  }, 120_000);

  test('upgraded: new programs run, and the tasks are the same', async () => {
    const tasks = await host.run('docker -H unix:///run/docker.sock ps --quiet | sort');
    await install(second);
    expect(await host.run('skep --version')).toBe(second);
    expect(await programs()).toBe('/usr/lib/skep/node\n/usr/lib/skep/node');
    await equal();
    await converged();
    await answering();
    expect(await host.run('docker -H unix:///run/docker.sock ps --quiet | sort')).toBe(tasks);
    expect(await daemons()).toBe(steady);
  }, 240_000);

  test('removed: kernel and engine are as before, and the state is kept', async () => {
    const { stdout, stderr } = await host.try(`${directory}/${first}/install.sh --uninstall`, 180_000);
    // apt tells what a package's scripts say as its own output.
    expect(stdout + stderr).toContain('this host is part of a swarm');
    const now = await holdings(false);
    expect(now).toEqual(Object.fromEntries(Object.keys(now).map((name) => [name, untouched[name]])));
    expect(await host.run('ls /var/lib/skep/swarm/membership.json')).not.toBe('');
  }, 240_000);

  test('installed again: it is the node of before', async () => {
    await install(second);
    await eventually('the node is ready', convergeMs, () => docker("node ls --format '{{.Status}} {{.ManagerStatus}}'"), (text) =>
      expect(text).toBe('Ready Leader')); // prettier-ignore
    await converged();
    await answering();
    await equal();
  }, 240_000);

  test('purged: the host is as it was', async () => {
    await host.run(`${directory}/${first}/install.sh --uninstall --purge`, 180_000);
    expect(await holdings(true)).toEqual(untouched);
    expect(await host.run(`${directory}/${first}/install.sh --uninstall`)).toContain('nothing to remove');
  }, 240_000);

  describe('as the documentation shows it', () => {
    // In memory, which no question about the host's files looks at.
    const home = '/tmp/reader';
    const quoted = (script: string): string => `'${script.replaceAll("'", `'\\''`)}'`;
    const typist = new Typist({
      shell: () => ({
        ...{ home, memory: `${home}.shell` },
        run: async (script, deadlineMs) => {
          const { exitCode, stdout, stderr } = await host.try(`exec bash -c ${quoted(script)}`, deadlineMs);
          return { exitCode, output: stdout + stderr };
        },
      }),
      power: () => Promise.resolve(),
    });
    const steps = [
      ['installed', first],
      ['upgraded', second],
      ['purged', null],
    ] as const;

    test('all that is shown is typed here', () => {
      expect(shown.map(({ where }) => where)).toHaveLength(steps.length);
    });

    test.each(steps.map(([what, version], at) => [what, shown[at]?.where, version, at] as const))(
      '%s: %s',
      async (_, __, version, at) => {
        const session = shown[at];
        if (!session) throw new Error('no page shows it');
        if (version === null) {
          await typist.play(session);
          expect(await holdings(true)).toEqual(untouched);
          return;
        }
        // The page calls the package as the reader's version is called.
        const file = session.steps.map(({ command }) => /\bskep_\S+\.deb$/.exec(command)?.[0]).find(Boolean);
        await host.run(`mkdir -p ${home} && cp ${made(version)} ${home}/${file}`);
        await typist.play(session);
        expect(await host.run('skep --version')).toBe(version);
        await eventually('both daemons run', 20_000, daemons, (text) => expect(text).toBe(steady));
      },
      240_000,
    );
  });
});
