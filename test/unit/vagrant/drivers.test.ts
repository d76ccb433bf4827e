/** The two drivers with programs in place of `skep`, `vagrant` and `ssh` that note how they are called; cluster.sh on top of them. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tryHostCommand } from '../../../src/lab/host-command.js';
import type { CommandResult } from '../../../src/lab/host-command.js';

const vagrantDirectory = resolve(import.meta.dirname, '../../../vagrant');
const secret = 'SWMTKN-1-secret-of-';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-drivers-'));
  await mkdir(join(directory, 'tmp'));
  await writeFile(join(directory, 'calls'), '');
});
afterEach(() => rm(directory, { recursive: true }));

/** A program that notes its arguments, a line a call, words apart by |, and then does `lines`. */
async function program(name: string, lines: string): Promise<void> {
  const path = join(directory, name);
  const note = `(IFS='|'; printf '%s\\n' "${name}|$*") >>${directory}/calls`;
  await writeFile(path, `#!/bin/bash\n${note}\n${lines}\n`);
  await chmod(path, 0o755);
}

const calls = async (): Promise<string[]> =>
  (await readFile(join(directory, 'calls'), 'utf8')).split('\n').filter((line) => line !== '');

const inShell = (lines: string): Promise<CommandResult> =>
  tryHostCommand([
    'env',
    `PATH=${directory}:${process.env['PATH']}`,
    `SKEP=${directory}/skep`,
    `TMPDIR=${directory}/tmp`,
    'bash',
    '-c',
    `set -euo pipefail; ${lines}`,
  ]);
const withDriver = (args: string, lines: string): Promise<CommandResult> =>
  inShell(`source ${vagrantDirectory}/drivers.sh; open_driver ${args}; ${lines}`);

const status = `if [ "$2" = status ]; then printf 'node1\\t192.168.60.1\\trunning\\tpid 7\\nnode2\\t192.168.60.2\\trunning\\tpid 8\\nnode3\\t192.168.60.3\\toff\\ncut\\tnode1 node2\\n'; exit; fi`;

test.each([
  [
    'lab mine 2',
    'node1 node2',
    'node3',
    'node1=192.168.60.1 node2=192.168.60.2 node3=192.168.60.3',
    '192.168.60.200',
  ],
  [
    'lab mine',
    'node1',
    'node2 node3',
    'node1=192.168.60.1 node2=192.168.60.2 node3=192.168.60.3',
    '192.168.60.200',
  ],
  [
    'vagrant',
    'm1 m2 m3',
    'w1 w2',
    'm1=192.168.56.11 m2=192.168.56.12 m3=192.168.56.13 w1=192.168.56.21 w2=192.168.56.22',
    '192.168.56.50',
  ],
])('open_driver %s: who is who and where', async (args, managers, workers, addresses, client) => {
  await program('skep', status);
  const said = await withDriver(
    args,
    `echo "\${managers[*]}"; echo "\${workers[*]}"; for node in "\${nodes[@]}"; do echo "$node=\${address[$node]}"; done | xargs; echo "$client_address"`,
  );
  expect(said).toEqual({
    exitCode: 0,
    stdout: [managers, workers, addresses, client, ''].join('\n'),
    stderr: '',
  });
});

test.each([['lab a 1 more'], ['vagrant more'], ['explode'], ['']])(
  'open_driver %s makes no sense',
  async (args) => {
    await program('skep', status);
    expect((await withDriver(args, 'echo open')).exitCode).toBe(2);
  },
);

test('the lab’s: commands with their words, input and exit code, and its power', async () => {
  await program('skep', `${status}\nif [ "$2" = exec ]; then cat; exit 7; fi`);
  const { exitCode, stdout } = await withDriver(
    'lab mine',
    `run node2 echo 'a  b' || echo "code $?"; echo in | run_with_input node2 cat || true; client curl x; cut_power node2; power_on node2; echo | run node2 cat || exit 3`,
  );
  expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: 'code 7\nin\n' });
  expect(await calls()).toEqual([
    'skep|lab|status|--name|mine',
    'skep|lab|exec|--name|mine|node2|--|echo|a  b',
    'skep|lab|exec|--name|mine|node2|--|cat',
    'skep|lab|client|--name|mine|--|curl|x',
    'skep|lab|kill|--name|mine|node2',
    'skep|lab|start|--name|mine|node2',
    'skep|lab|exec|--name|mine|node2|--|cat',
  ]);
});

test('Vagrant’s: the same; a machine’s way is asked for once, and again after it was off', async () => {
  await program('vagrant', `if [ "$1" = ssh-config ]; then echo "Host $2"; fi`);
  // What the remote shell would make of it: the words after the machine's name, once more read by a shell, without sudo.
  await program('ssh', `shift $(($# - 1)); eval "\${1#sudo -H -- }"`);
  const { exitCode, stdout, stderr } = await withDriver(
    'vagrant',
    `run m1 printf '<%s>' 'a  b' '$HOME' "it's" '[1-3]' ''; run m1 sh -c 'exit 7' || echo "code $?"; echo in | run_with_input m1 cat; cut_power w2; power_on w2; client true`,
  );
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 0,
    stdout: `<a  b><$HOME><it's><[1-3]><>code 7\nin\n`,
    stderr: '',
  });
  expect((await calls()).filter((call) => call.startsWith('vagrant'))).toEqual([
    'vagrant|ssh-config|m1',
    'vagrant|halt|--force|w2',
    'vagrant|up|--no-provision|w2',
    'vagrant|ssh-config|client',
  ]);
});

test('a command that hangs ends, and its scratch directory with it', async () => {
  await program('skep', `${status}\nsleep 60`);
  const { exitCode, stdout } = await withDriver(
    'lab mine',
    'within_s=1 run node1 true || echo "code $?"; ls -d "$scratch"',
  );
  expect(exitCode).toBe(0);
  const [code, scratch] = stdout.split('\n');
  expect(code).toBe('code 124');
  expect((await tryHostCommand(['ls', '-d', scratch ?? ''])).exitCode).not.toBe(0);
});

/** Nodes whose state is a file's, whose tokens are known, and who note what comes in when they join. */
const cluster = `${status}
node=$5; shift 7
case $* in
'cluster state') cat \${0%/*}/state-$node 2>/dev/null || echo inactive ;;
'cluster token '*) echo ${secret}$3 ;;
'cluster join '*) echo "$node joins with $(cat)" >>\${0%/*}/joined ;;
esac`;

test('cluster.sh: the first manager begins, the others join with the token of their role, which is in no argument', async () => {
  await program('skep', cluster);
  await writeFile(join(directory, 'state-node3'), 'active\n');
  expect(await inShell(`${vagrantDirectory}/cluster.sh lab mine 2`)).toEqual({
    exitCode: 0,
    stdout: '',
    stderr: '# node3 is in the swarm already: active\n',
  });
  await rm(join(directory, 'state-node3'));
  expect((await inShell(`${vagrantDirectory}/cluster.sh lab mine 2 node3`)).exitCode).toBe(0);
  expect(await readFile(join(directory, 'joined'), 'utf8')).toBe(
    `node2 joins with ${secret}manager\nnode3 joins with ${secret}worker\n`,
  );
  const commands = (await calls()).filter((call) => call.includes('|skep-provision|'));
  // The two ends of a pipe begin at the same time.
  expect(commands.map((call) => call.replace('skep|lab|exec|--name|mine|', '')).sort()).toEqual(
    [
      'node1|--|skep-provision|cluster|state',
      'node1|--|skep-provision|cluster|init|192.168.60.1',
      'node2|--|skep-provision|cluster|state',
      'node1|--|skep-provision|cluster|token|manager',
      'node2|--|skep-provision|cluster|join|192.168.60.2|192.168.60.1',
      'node3|--|skep-provision|cluster|state',
      'node3|--|skep-provision|cluster|state',
      'node1|--|skep-provision|cluster|token|worker',
      'node3|--|skep-provision|cluster|join|192.168.60.3|192.168.60.1',
    ].sort(),
  );
  expect((await calls()).join('\n')).not.toContain(secret);
});

test.each([[['lab', 'mine']], [['explode']], [['lab', 'mine', '1', 'node9']]])(
  'cluster.sh %j is refused',
  async (args) => {
    await program('skep', status);
    const { exitCode, stderr } = await inShell(`${vagrantDirectory}/cluster.sh ${args.join(' ')}`);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/Usage|no such node: node9/);
  },
);
