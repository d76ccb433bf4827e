/**
 * The code of `skep lab`: reads each command line by the table (../cli/lab-commands.ts), calls the lab, prints. Exit codes: the command's own for
 * `exec` and `client`; otherwise as the dispatcher decides of the error.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { readCommandLine } from '../cli/arguments.js';
import type { Run, Terminal } from '../cli/command.js';
import { UsageError } from '../cli/command.js';
import type { OptionValues } from '../cli/command-spec.js';
import { showProgress } from '../cli/progress.js';
import { OutsideError } from '../model/errors.js';
import { labCommands } from '../cli/lab-commands.js';
import type { LabCommand } from '../cli/lab-commands.js';
import { Lab, nameOption } from './lab.js';
import type { LabSummary } from './lab.js';
import { initSwarm } from './swarm.js';

/** By the names of the table. */
export const labRuns: Readonly<Record<LabCommand, Run>> = {
  up: async (args, terminal) => {
    const { options } = readCommandLine(labCommands.up, args);
    const { name, init } = options;
    const { count, managers, ...rest } = sizesOf(options);
    await during(terminal, options.quiet, async (progress) => {
      const lab = await Lab.up({ name, nodes: count, ...rest, progress });
      if (init) await initSwarm(lab, managers, progress);
    });
    terminal.out(`lab ${name} is up; "skep lab down${nameOption(name)}" ends it`);
    return 0;
  },
  down: async (args, terminal) => {
    const { name, quiet } = readCommandLine(labCommands.down, args).options;
    const existed = await during(terminal, quiet, (progress) => Lab.down(name, progress));
    terminal.out(existed ? `lab ${name} is gone` : `there is no lab called ${name}`);
    return 0;
  },
  ls: async (args, { out }) => {
    const { json } = readCommandLine(labCommands.ls, args).options;
    const labs = Lab.list();
    for (const line of json ? [JSON.stringify(labs)] : labs.map(summaryLine)) out(line);
    return 0;
  },
  status: async (args, { out }) => {
    const { name, json } = readCommandLine(labCommands.status, args).options;
    const lab = Lab.open(name);
    const nodes = lab.status();
    const cuts = await lab.cuts();
    if (json) out(JSON.stringify({ name, nodes, cuts: cuts.map((pair) => pair.split(' ')) }));
    else {
      for (const { name: node, address, state, pid } of nodes)
        out(`${node}\t${address}\t${state}${pid === undefined ? '' : `\tpid ${pid}`}`);
      for (const pair of cuts) out(`cut\t${pair}`);
    }
    return 0;
  },
  exec: async (args) => {
    const { options, arguments: named, command } = readCommandLine(labCommands.exec, args);
    return exec(Lab.open(options.name), named.NODE, command);
  },
  client: async (args) => {
    const { options, command } = readCommandLine(labCommands.client, args);
    return passThrough(Lab.open(options.name).clientCommand(command));
  },
  logs: async (args) => {
    const { options, arguments: named } = readCommandLine(labCommands.logs, args);
    return passThrough(['tail', '-v', '-n', '+1', ...(await Lab.open(options.name).logFiles(named.NODE))]);
  },
  kill: async (args) => {
    const { options, arguments: named } = readCommandLine(labCommands.kill, args);
    await Lab.open(options.name).kill(named.NODE);
    return 0;
  },
  start: async (args, terminal) => {
    const { options, arguments: named } = readCommandLine(labCommands.start, args);
    const lab = Lab.open(options.name);
    await during(terminal, options.quiet, (progress) => {
      progress(`${named.NODE} starts; waiting for its daemons`);
      return lab.start(named.NODE);
    });
    return 0;
  },
  cut: async (args) => {
    const { options, arguments: named } = readCommandLine(labCommands.cut, args);
    await Lab.open(options.name).cut(named.A, named.B);
    return 0;
  },
  heal: async (args) => {
    await Lab.open(readCommandLine(labCommands.heal, args).options.name).heal();
    return 0;
  },
};

/** What `up` asks for. Throws UsageError for more managers than nodes. */
function sizesOf(options: OptionValues<typeof labCommands.up>) {
  const { nodes, managers, kernel, balancer, allow, engine, package: file } = options;
  const count = Number(nodes);
  const managerCount = Number(managers);
  if (!Number.isInteger(managerCount) || managerCount < 1 || managerCount > count)
    throw new UsageError(
      `--managers must be 1 to ${nodes}`,
      'Managers are nodes of the lab, and a swarm has one at least. Nothing was started.',
      'Ask for fewer managers, or for more nodes (--nodes).',
    );
  return {
    ...{ count, managers: managerCount, kernel, engineOnly: options['engine-only'] },
    ...(balancer !== undefined && { balancer }),
    ...(allow !== undefined && { allow }),
    ...(engine !== undefined && { engine }),
    // Relative to where the command was given; nodes have it by its absolute path.
    ...(file !== undefined && { package: resolve(file) }),
  };
}

const summaryLine = ({ name, nodes, running, kernel, complete }: LabSummary): string =>
  `${name}\t${running} of ${nodes} nodes run\t${kernel ?? 'not started'}\t${complete ? 'complete' : 'not complete'}`;

/** Ends the progress before anything else is said. */
async function during<T>(
  terminal: Terminal,
  quiet: boolean,
  body: (progress: (line: string) => void) => Promise<T>,
): Promise<T> {
  using progress = showProgress(terminal, { quiet });
  return await body(progress.step);
}

async function exec(lab: Lab, node: string, command: readonly string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void =>
    interrupted.abort(
      new OutsideError('interrupted', false, {
        advice: {
          means: 'The command in the node was ended, wherever it was.',
          todo: 'Run it again if it was to end by itself.',
        },
      }),
    );
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt);
  const { stdin, stdout, stderr } = process;
  const exitCode = await lab.stream(node, command, { stdin, stdout, stderr }, interrupted.signal);
  stdin.destroy(); // a terminal or a pipe that nobody closes must not keep this process
  return exitCode;
}

/** Runs a command on this machine with this process's own streams. */
const passThrough = ([program = '', ...args]: readonly string[]): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    // Ctrl-C reaches both; the command decides what it means.
    const ignore = (): void => undefined;
    process.on('SIGINT', ignore);
    child.once('error', (cause) =>
      reject(
        new OutsideError(`cannot run ${program}: ${cause.message}`, false, {
          cause,
          advice: {
            means: 'It is not on this machine, so nothing ran.',
            todo: 'Run scripts/setup.sh, which installs what is missing.',
          },
        }),
      ),
    );
    child.once('close', (code, signal) => {
      process.off('SIGINT', ignore);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
