/**
 * `skep lab`: reads the command line, calls the lab, prints. Exit codes: the command's own for `exec` and `client`; otherwise 0,
 * 1 when something failed, 2 when the command line makes no sense, 125 when `exec` or `client` could not run the command.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { OutsideError, SkepError } from '../model/errors.js';
import { isKernel, kernels } from './kernels.js';
import { Lab } from './lab.js';
import { initSwarm } from './swarm.js';

const usage = `Usage: skep lab COMMAND [--name NAME]

  up [--nodes 3] [--managers 1] [--init]   start hosts with their daemons; --init makes a swarm of them
  up --kernel host|uml|qemu ...            what the nodes run on: this machine's own kernel (by default);
                                           user-mode Linux, which has IPVS whatever this machine has;
                                           or Debian 12's stock kernel in QEMU, which is slow
  up --balancer ipvs|ebpf ...              the balancer engine; without it, the one that the kernel suggests
  up --allow WHAT ...                      what services may have of the nodes' host: as SKEP_ALLOW, see README.md
  up --engine DIR ...                      the dockerd in it, not this machine's own (setup.sh keeps a later one
                                           in /var/cache/skep-lab/engine/current)
  up --package FILE ...                    each node installs this package of Skep and runs its daemons from there,
                                           not from this checkout (npm run package builds it in dist-package)
  up --engine-only ...                     do not wait for Skep's daemons, only for the engines
  down                                     end the lab and leave nothing of it
  status                                   the nodes and the cuts between them
  exec NODE -- CMD...                      run a command in a node
  client -- CMD...                         run a command on a machine outside the cluster
  logs NODE                                what the node's daemons and console said
  kill NODE                                cut the node's power
  start NODE                               start a node that is off
  cut A B                                  drop all frames between two nodes (or a node and "client")
  heal                                     remove all cuts

NAME is the lab's, by default "lab". Nodes are node1, node2, ...
`;

const notRunExitCode = 125;
const defaultName = 'lab';

/** Runs one `skep lab` command line (without the words `skep lab`); returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const dashes = argv.indexOf('--');
  const own = dashes < 0 ? argv : argv.slice(0, dashes);
  const command = dashes < 0 ? [] : argv.slice(dashes + 1);
  const verb = own[0] ?? '';
  try {
    const { values, positionals } = parseArgs({
      args: own.slice(1),
      allowPositionals: true,
      options: {
        name: { type: 'string', default: defaultName },
        nodes: { type: 'string', default: '3' },
        managers: { type: 'string', default: '1' },
        init: { type: 'boolean', default: false },
        'engine-only': { type: 'boolean', default: false },
        kernel: { type: 'string', default: 'host' },
        balancer: { type: 'string' },
        allow: { type: 'string' },
        engine: { type: 'string' },
        package: { type: 'string' },
      },
    });
    return await run(verb, positionals, command, values);
  } catch (err) {
    if (!(err instanceof Error)) throw err;
    const expected = err instanceof SkepError || err instanceof OutsideError || isUsageError(err);
    if (!expected) throw err;
    process.stderr.write(`skep lab: ${err.message}\n`);
    if (isUsageError(err) || verb === '') process.stderr.write(usage);
    if (verb === 'exec' || verb === 'client') return notRunExitCode;
    return isUsageError(err) || (err instanceof SkepError && err.kind === 'invalidArgument') ? 2 : 1;
  }
}

/** A command line that makes no sense. */
class UsageError extends Error {
  readonly code = 'ERR_PARSE_ARGS_USAGE';
}

const isUsageError = (err: unknown): boolean =>
  err instanceof Error && String((err as NodeJS.ErrnoException).code).startsWith('ERR_PARSE_ARGS_');

interface Options {
  readonly name: string;
  readonly nodes: string;
  readonly managers: string;
  readonly init: boolean;
  readonly 'engine-only': boolean;
  readonly kernel: string;
  readonly balancer?: string;
  readonly allow?: string;
  readonly engine?: string;
  readonly package?: string;
}

async function run(
  verb: string,
  args: readonly string[],
  command: readonly string[],
  options: Options,
): Promise<number> {
  const takes = (count: number, what: string): void => {
    if (args.length !== count) throw new UsageError(`"${verb}" takes ${what}`);
  };
  const [first = '', second = ''] = args;
  const { name } = options;
  switch (verb) {
    case 'up':
      takes(0, 'no argument');
      return up(options);
    case 'down':
      takes(0, 'no argument');
      process.stdout.write(
        (await Lab.down(name)) ? `lab ${name} is gone\n` : `there is no lab called ${name}\n`,
      );
      return 0;
    case 'status':
      takes(0, 'no argument');
      return status(Lab.open(name));
    case 'exec':
      takes(1, 'one node, and a command after --');
      if (command.length === 0) throw new UsageError('"exec" needs a command after --');
      return exec(Lab.open(name), first, command);
    case 'client':
      takes(0, 'a command after --');
      if (command.length === 0) throw new UsageError('"client" needs a command after --');
      return client(Lab.open(name), command);
    case 'logs':
      takes(1, 'one node');
      return passThrough(['tail', '-v', '-n', '+1', ...(await Lab.open(name).logFiles(first))]);
    case 'kill':
      takes(1, 'one node');
      await Lab.open(name).kill(first);
      return 0;
    case 'start':
      takes(1, 'one node');
      await Lab.open(name).start(first);
      return 0;
    case 'cut':
      takes(2, 'two nodes');
      await Lab.open(name).cut(first, second);
      return 0;
    case 'heal':
      takes(0, 'no argument');
      await Lab.open(name).heal();
      return 0;
    case 'help':
    case '--help':
      process.stdout.write(usage);
      return 0;
    default:
      throw new UsageError(verb === '' ? 'which command?' : `unknown command "${verb}"`);
  }
}

const balancers = ['ipvs', 'ebpf', 'auto'];

async function up(options: Options): Promise<number> {
  const { name, nodes, managers, init, 'engine-only': engineOnly, kernel, balancer, allow, engine } = options;
  const { package: file } = options;
  if (!isKernel(kernel))
    throw new UsageError(`--kernel must be ${Object.keys(kernels).join(' or ')}, not "${kernel}"`);
  if (balancer !== undefined && !balancers.includes(balancer))
    throw new UsageError(`--balancer must be one of ${balancers.join(', ')}, not "${balancer}"`);
  const count = Number(nodes);
  const managerCount = Number(managers);
  if (!Number.isInteger(managerCount) || managerCount < 1 || managerCount > count)
    throw new UsageError(`--managers must be 1 to ${nodes}`);
  const startedMs = Date.now();
  const progress = (line: string): void =>
    void process.stdout.write(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(6)} s] ${line}\n`);
  const lab = await Lab.up({
    name,
    nodes: count,
    engineOnly,
    kernel,
    ...(balancer === undefined ? {} : { balancer }),
    ...(allow === undefined ? {} : { allow }),
    ...(engine === undefined ? {} : { engine }),
    // Relative to where the command was given; nodes have it by its absolute path.
    ...(file === undefined ? {} : { package: resolve(file) }),
    progress,
  });
  if (init) await initSwarm(lab, managerCount, progress);
  progress(`lab ${name} is up; "skep lab down${name === defaultName ? '' : ` --name ${name}`}" ends it`);
  return 0;
}

async function status(lab: Lab): Promise<number> {
  for (const { name, address, state, pid } of lab.status())
    process.stdout.write(`${name}\t${address}\t${state}${pid === undefined ? '' : `\tpid ${pid}`}\n`);
  for (const pair of await lab.cuts()) process.stdout.write(`cut\t${pair}\n`);
  return 0;
}

async function exec(lab: Lab, node: string, command: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new OutsideError('interrupted', false));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt);
  const { stdin, stdout, stderr } = process;
  const exitCode = await lab.stream(node, command, { stdin, stdout, stderr }, interrupted.signal);
  stdin.destroy(); // a terminal or a pipe that nobody closes must not keep this process
  return exitCode;
}

const client = (lab: Lab, command: readonly string[]): Promise<number> =>
  passThrough(lab.clientCommand(command));

/** Runs a command on this machine with this process's own streams. */
const passThrough = ([program = '', ...args]: readonly string[]): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    // Ctrl-C reaches both; the command decides what it means.
    const ignore = (): void => undefined;
    process.on('SIGINT', ignore);
    child.once('error', (cause) =>
      reject(new OutsideError(`cannot run ${program}: ${cause.message}`, false, { cause })),
    );
    child.once('close', (code, signal) => {
      process.off('SIGINT', ignore);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
