/** The parts of vagrant/smoke.sh that decide: what it calls well, what it waits for, and what it says and returns. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tryHostCommand } from '../../../src/lab/host-command.js';
import type { CommandResult } from '../../../src/lab/host-command.js';

const script = resolve(import.meta.dirname, '../../../vagrant/smoke.sh');
const containers = ['a', 'b', 'c'].map((letter) => letter.repeat(64));
const tasks = containers
  .map(
    (id, at) =>
      `t${at} web.${at + 1} m${at + 1} ${id} ingress=10.0.0.${at + 2}/24,mynet=10.0.1.${at + 3}/24,`,
  )
  .join('\n');
const answersOf = (...counts: number[]): string =>
  counts
    .flatMap((count, at) =>
      Array<string>(count).fill(`${(containers[at] ?? '').slice(0, 12)} 192.0.2.50 240.0.0.1`),
    )
    .join('\n');

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-smoke-'));
  await writeFile(join(directory, 'tasks'), `${tasks}\n`);
});
afterAll(() => rm(directory, { recursive: true }));

/** Runs these lines after the script has been read. `client` runs here. */
const inScript = (lines: string): Promise<CommandResult> => {
  const head = `source ${script}; scratch=${directory}; cd ${directory}; client() { "$@"; }`;
  return tryHostCommand(['bash', '-c', `${head}\n${lines}`]);
};

test.each<[what: string, answers: string, said: string]>([
  ['an even spread', answersOf(100, 100, 100), ''],
  ['the limits', answersOf(80, 120, 100), ''],
  ['one below', answersOf(79, 120, 101), 'web.1 has answered 79 times, not 80 to 120\n'],
  ['one above', answersOf(90, 121, 89), 'web.2 has answered 121 times, not 80 to 120\n'],
  ['one that never answers', answersOf(110, 110), 'web.3 has answered 0 times, not 80 to 120\n'],
  [
    'an answer of a container that is none of the tasks’',
    `${answersOf(100, 100, 100)}\nf00 192.0.2.50 240.0.0.1`,
    'an answer of no running task: f00 192.0.2.50 240.0.0.1\n',
  ],
  ['a failed call', `${answersOf(100, 100, 100)}\nfailed`, 'an answer of no running task: failed\n'],
])('spread: %s', async (_, answers, said) => {
  await writeFile(join(directory, 'answers'), `${answers}\n`);
  const { exitCode, stderr } = await inScript('spread tasks answers 80 120');
  expect({ exitCode, stderr }).toEqual({ exitCode: said === '' ? 0 : 1, stderr: said });
});

test.each([
  ['192.0.2.50', ''],
  ['192.0.2.51', 'the tasks saw 192.0.2.50 call them, not 192.0.2.51\n'],
])('callers_are %s', async (address, said) => {
  await writeFile(join(directory, 'answers'), `${answersOf(2, 1)}\n`);
  expect(await inScript(`callers_are answers ${address}`)).toEqual({
    exitCode: said === '' ? 0 : 1,
    stdout: '',
    stderr: said,
  });
});

test.each([
  ['ingress', '10.0.0.2\n'],
  ['mynet', '10.0.1.3\n'],
  ['net', ''],
])('address_in: on %s', async (network, address) => {
  expect((await inScript(`address_in "$(head -n 1 tasks)" ${network}`)).stdout).toBe(address);
});

const ready = ['m1 Ready/Active/true/Leader', 'm2 Ready/Active/false/Reachable', 'w1 Ready/Active/false/'];
test.each<[what: string, rows: readonly string[], isReady: boolean]>([
  ['all are', ready, true],
  ['one is down', [...ready.slice(0, 2), 'w1 Down/Active/false/'], false],
  ['one is missing', ready.slice(0, 2), false],
  ['a manager is none', [ready[0] ?? '', 'm2 Ready/Active/false/', ready[2] ?? ''], false],
  [
    'a manager is not reachable',
    [ready[0] ?? '', 'm2 Ready/Active/false/Unreachable', ready[2] ?? ''],
    false,
  ],
  ['nobody leads', ['m1 Ready/Active/true/Reachable', ...ready.slice(1)], false],
  [
    'the marker is on another one',
    ['m1 Ready/Active/false/Leader', 'm2 Ready/Active/true/Reachable', ready[2] ?? ''],
    false,
  ],
  ['one is drained', [...ready.slice(0, 2), 'w1 Ready/Drain/false/'], false],
  ['a former node is left', [...ready, 'w1 Down/Active/false/'], false],
])('all_ready: %s', async (_, rows, isReady) => {
  const { exitCode } = await inScript(
    `managers=(m1 m2) workers=(w1) nodes=(m1 m2 w1); docker_on() { printf '%s\\n' ${rows.map((row) => `'${row}'`).join(' ')}; }\nall_ready`,
  );
  expect(exitCode).toBe(isReady ? 0 : 1);
});

/** `docker ARGUMENTS` of the script answers with what the first pattern that fits says. */
const docker = (answers: Readonly<Record<string, string>>): string => {
  const cases = Object.entries(answers).map(([pattern, answer]) => `${pattern}) printf '%b' '${answer}' ;;`);
  return `managers=(m1); docker_on() { shift; case "$*" in ${cases.join(' ')} *) echo "$*" >&2; return 1 ;; esac; }`;
};

test('tasks_of: the running ones with what the two listings say of each, whatever their order', async () => {
  const answers = docker({
    "'service ps '*":
      't2 web.2 m2 Running 3 seconds ago\\nt3 web.3 m1 Starting 1 second ago\\nt1 web.1 w1 Running about a minute ago\\n',
    "'inspect --type task '*' t2 t1'":
      't2 bbb mynet=10.0.1.4/24,\\nt1 aaa ingress=10.0.0.3/24,mynet=10.0.1.3/24,\\n',
  });
  expect(await inScript(`${answers}; tasks_of web`)).toEqual({
    exitCode: 0,
    stdout: 't1 web.1 w1 aaa ingress=10.0.0.3/24,mynet=10.0.1.3/24,\nt2 web.2 m2 bbb mynet=10.0.1.4/24,\n',
    stderr: '',
  });
  const counted = await inScript(`${answers}; has_tasks web 3 found`);
  expect(counted.exitCode).toBe(1);
  expect(counted.stderr).toMatch(/^there are 2: t1 /);
  expect(
    (await inScript(`${answers}; await_tasks web 2 found; nodes_in found; containers_in found`)).stdout,
  ).toBe('m2\nw1\naaa\nbbb\n');
  expect((await inScript(`${docker({ "'service ps '*": '' })}; has_tasks web 0 found`)).exitCode).toBe(0);
});

test.each([
  [
    'busybox',
    'Server:\\t\\t127.0.0.11\\nAddress:\\t127.0.0.11:53\\n\\nNon-authoritative answer:\\nName:\\ttasks.web\\nAddress: 10.0.1.5\\nName:\\ttasks.web\\nAddress: 10.0.1.3\\n\\n',
  ],
  [
    'an older busybox',
    'Server:    127.0.0.11\\nAddress 1: 127.0.0.11\\n\\nName:      tasks.web\\nAddress 1: 10.0.1.5 web.1\\nAddress 2: 10.0.1.3\\n',
  ],
])('resolve: the addresses of the name, not of the server, as %s tells them', async (_, said) => {
  const lines = `${docker({ "'exec aaa sh -c nslookup -type=a tasks.web'": said })}; resolve 't1 probe.1 m1 aaa mynet=10.0.1.2/24,' tasks.web`;
  expect(await inScript(lines)).toEqual({ exitCode: 0, stdout: '10.0.1.3\n10.0.1.5\n', stderr: '' });
});

test.each<[what: string, network: string, held: string]>([
  ['an address', 'inet 10.0.1.3/24 brd 10.0.1.255 scope global', '10.0.1.3\n'],
  ['a longer address is another one', 'inet 10.0.1.30/24\ninet 110.0.1.3/24', ''],
  ['an address with a port', 'TCP  10.0.1.3:80 rr', '10.0.1.3\n'],
  ['a member of a set', 'add skep-vips 10.0.1.3,tcp:80', '10.0.1.3\n'],
  ['a MAC', '02:42:0a:00:01:03 dst 192.168.60.2 self permanent', '02:42:0a:00:01:03\n'],
  ['nothing', 'inet 10.0.1.4/24', ''],
])('holds: %s', async (_, network, held) => {
  await writeFile(join(directory, 'traces'), '10.0.1.3\n02:42:0a:00:01:03\n');
  const lines = (check: string): string => `network_of() { printf '%s\\n' '${network}'; }\n${check}`;
  const found = await inScript(lines('holds m1'));
  expect({ stdout: found.stdout, found: found.exitCode === 0 }).toEqual({ stdout: held, found: held !== '' });
  expect((await inScript(lines('holds_nothing m1'))).exitCode).toBe(held === '' ? 0 : 1);
  expect((await inScript('network_of() { return 1; }; holds_nothing m1')).exitCode).toBe(1);
});

test.each<[what: string, lines: string, said: string]>([
  ['with these words', 'echo Error: no such thing >&2; return 1', ''],
  [
    'with others',
    'echo Error: busy >&2; return 1',
    'docker rm x: refused with Error: busy, not with no such thing\n',
  ],
  ['not at all', 'echo done', 'docker rm x: was not refused: done\n'],
])('refused: %s', async (_, lines, said) => {
  const { exitCode, stderr } = await inScript(`docker_on() { ${lines}; }\nrefused m1 'no such thing' rm x`);
  expect({ exitCode, stderr }).toEqual({ exitCode: said === '' ? 0 : 1, stderr: said });
});

test('eventually: goes on when it holds, and says what was waited for and what was seen last when it does not', async () => {
  const tries =
    'tries() { echo x >>tries; complain "$(wc -l <tries) of 3" >&2 || [ "$(wc -l <tries)" -ge 3 ]; }';
  expect(await inScript(`${tries}\neventually 20 'three tries' tries; wc -l <tries`)).toEqual({
    exitCode: 0,
    stdout: '3\n',
    stderr: '',
  });
  const { exitCode, stderr } = await inScript(
    `never() { complain nothing; }\neventually 1 'a miracle' never; echo on`,
  );
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: 'a miracle: not within 1 s; last: nothing\n' });
});

test('an item ends at its first failure and is told of; the others go on, and the exit code says it', async () => {
  const items = `good() { echo quiet; }
bad() { false; echo not reached >&2; }
worse() { [ 1 = 2 ] || complain 'one is not two'; echo not reached >&2; }
prove 1 'a good one' good; prove 2 'a bad one' bad; prove 2b 'a worse one' worse; prove 3 'another good one' good; end_here`;
  const { exitCode, stdout, stderr } = await inScript(items);
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
  expect(stdout.replaceAll(/ \(\d+ s\)/g, '')).toBe(
    `ok 1 - 1. a good one\nnot ok 2 - 2. a bad one\nnot ok 3 - 2b. a worse one\n# one is not two\nok 4 - 3. another good one\n1..4\n`,
  );
});

test('nothing is proven after an item that the others need, nor when the time is over', async () => {
  const first = await inScript(`bad() { false; }\nprove_first 1 first bad; prove 2 second true; end_here`);
  expect({ exitCode: first.exitCode, stdout: first.stdout.replaceAll(/ \(\d+ s\)/g, '') }).toEqual({
    exitCode: 1,
    stdout: 'not ok 1 - 1. first\nBail out! the items after this need it\n1..1\n',
  });
  const late = await inScript(`total_s=0; prove 1 first true; end_here`);
  expect(late.exitCode).toBe(1);
  expect(late.stdout).toContain('not ok 1 - 1. first\n# not begun');
});

test('call: every call counts, each on a connection of its own; one that fails is told with curl’s code and the status', async () => {
  let connections = 0;
  let calls = 0;
  let failsAt = 0;
  const server = createServer((_, response) => {
    calls += 1;
    response.writeHead(calls === failsAt ? 500 : 200).end('host 192.0.2.50 240.0.0.1\n');
  });
  server.on('connection', () => (connections += 1));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    const port = (server.address() as AddressInfo).port;
    const call = `declare -A address=([m1]=127.0.0.1); port=${port}; call 30 m1 called; wc -l <called`;
    expect(await inScript(call)).toEqual({ exitCode: 0, stdout: '30\n', stderr: '' });
    expect({ calls, connections }).toEqual({ calls: 30, connections: 30 });
    failsAt = 40;
    const { exitCode, stderr } = await inScript(call);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^calls through m1 failed \(.*\): +1 = 0 500\n$/);
  } finally {
    server.close();
  }
  const { exitCode, stderr } = await inScript(
    'declare -A address=([m1]=127.0.0.1); port=1; call 2 m1 called',
  );
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/ 2 = 7 000\n$/);
});

test('load: so many calls a second through each URL until it is to end, and each of them in the report', async () => {
  let calls = 0;
  const server = createServer((_, response) => {
    calls += 1;
    response.end('host 192.0.2.50 240.0.0.1\n');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const startedMs = Date.now();
    const { exitCode, stdout } = await inScript(
      `dir=$(mktemp -d -p ${directory}); touch "$dir/on"; bash -c "$load_script" load "$dir" 20 60 ${url}a ${url}b http://127.0.0.1:1/ &
      eventually 15 'some calls' test -s "$dir/out.1"; rm "$dir/on"; wait $!; [ ! -e "$dir" ]`,
    );
    const tookS = (Date.now() - startedMs) / 1000;
    expect(exitCode).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    const reported = (end: string): number =>
      lines.filter((line) => line.startsWith('= ') && line.endsWith(end)).length;
    expect(reported(`0 200 ${url}a`) + reported(`0 200 ${url}b`)).toBe(calls);
    expect(lines.filter((line) => line.startsWith('host '))).toHaveLength(calls);
    expect(reported('7 000 http://127.0.0.1:1/')).toBeGreaterThanOrEqual(20);
    // Forty a second, and none of the batches that had begun is cut short.
    expect(calls).toBeGreaterThanOrEqual(40);
    expect(calls).toBeLessThanOrEqual(40 * (tookS + 1));
  } finally {
    server.close();
  }
});

test.each([[['lab']], [['lab', 'x']], [['explode']], [['vagrant', 'm1']]])(
  'smoke.sh %j makes no sense',
  async (args) => {
    const { exitCode, stderr } = await tryHostCommand([script, ...args]);
    expect({ exitCode, usage: stderr.includes('Usage: smoke.sh') }).toEqual({ exitCode: 2, usage: true });
  },
);
