/** The `skep` command: finds the subcommand, runs it, exits with its code. */
import { existsSync, readFileSync } from 'node:fs';
import type { ExitCode, Terminal } from './command.js';
import { UsageError } from './command.js';

type Command = (args: readonly string[], terminal: Terminal) => Promise<number>;

/** Loaded when asked for: `skep --help` needs none of what they need. */
const commands: Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<Command> }>
> = {
  verify: {
    summary: 'compare the kernel with the state (0: equal, 1: differs, 2: cannot tell) [--repair] [--json]',
    load: async () => (await import('./verify.js')).verify,
  },
  status: {
    summary: 'revisions and errors of the dataplane [--json]',
    load: async () => (await import('./verify.js')).status,
  },
  trace: {
    summary:
      'SERVICE|PORT: the ways to its tasks, what was counted, where they stop [--from CLIENT] [--json]',
    load: async () => (await import('./trace.js')).trace,
  },
  backup: {
    summary: 'FILE: the whole swarm, sealed with a passphrase [--passphrase-file F] [--force]',
    load: async () => (await import('./backup.js')).backup,
  },
  restore: {
    summary:
      'FILE: brings a swarm back with this node as its manager [--passphrase-file F] [--advertise-addr A]',
    load: async () => (await import('./backup.js')).restore,
  },
  doctor: {
    summary: 'can this kernel and engine run Skep, and what mends it if not [--json]',
    load: async () => (await import('./doctor/doctor.js')).doctor,
  },
  config: {
    summary: 'check [FILE] | show | example: what the daemons are told by /etc/skep/skep.toml [--json]',
    load: async () => (await import('./config.js')).config,
  },
  lab: {
    summary: 'a cluster of real nodes on this machine (see `skep lab --help`)',
    load: async () => {
      // A package brings none: a lab is made of a checkout, with the tests' tools.
      if (!existsSync(new URL('../lab/main.js', import.meta.url)))
        throw new UsageError(
          'labs are made from a checkout of Skep, and this is a package: run bin/skep lab there',
        );
      const { main: lab } = await import('../lab/main.js');
      return (args) => lab(args);
    },
  },
};

const help = (): string =>
  [
    'Usage: skep COMMAND',
    '',
    'Docker Swarm mode with its own network dataplane. Everything about the cluster is the docker CLI,',
    'pointed at unix:///run/skep/docker.sock; this command looks at the node.',
    '',
    'Commands:',
    ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(8)} ${summary}`),
    '',
    'Options:',
    '  --help     this text',
    '  --version  the version',
  ].join('\n');

/** Loaded relative to this file, which lies two levels below package.json in src/ and dist/ alike. */
const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version;

async function main([name, ...args]: readonly string[], terminal: Terminal): Promise<number> {
  const usage = (code: ExitCode): ExitCode => {
    (code === 0 ? terminal.out : terminal.err)(help());
    return code;
  };
  if (name === undefined) return usage(2);
  if (name === '--help' || name === '-h' || name === 'help') return usage(0);
  if (name === '--version' || name === 'version') {
    terminal.out(version());
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    terminal.err(`skep: no such command: ${name}\n`);
    return usage(2);
  }
  try {
    return await (
      await command.load()
    )(args, terminal);
  } catch (err) {
    // What parseArgs throws is a TypeError with a code of its own.
    const code = (err as { code?: unknown }).code;
    if (!(err instanceof UsageError) && !(typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS')))
      throw err;
    terminal.err(`skep ${name}: ${(err as Error).message}`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2), {
  out: (line) => process.stdout.write(`${line}\n`),
  err: (line) => process.stderr.write(`${line}\n`),
  env: process.env,
});
