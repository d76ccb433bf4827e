/**
 * Every command of `skep`, as data (command-spec.ts). A new command is an entry here and its code in `loaders` of main.ts, which does
 * not compile without it; help, completion and manual follow.
 */
import { sharedOptions, usageExit } from './command-spec.js';
import type { CommandAt, CommandSpec, CommandTable } from './command-spec.js';
import { shells } from './completion/shells.js';
import { wellKnown } from './environment.js';
import { labCommands } from './lab-commands.js';

const { json, quiet } = sharedOptions;
const { runDir, engine, balancer, configFile } = wellKnown;
const passphraseFile = {
  value: 'FILE',
  completes: 'file',
  meaning:
    'a file with the passphrase in its first line; without it, the terminal is asked, or standard input read',
} as const;

export const commands = {
  verify: {
    summary: 'compare the kernel with the state',
    description: [
      'Asks skep-dataplane on this node to read the kernel back and to compare it with what should be there: links, neighbours, rules, sets and the ' +
        "balancer's tables. Without --repair nothing is changed.",
      'With --json: {"revision", "equal", "differences": [{"scope", "op", "object"}], "repaired"}: the revision of the state that was compared; whether ' +
        'the kernel equals it now; what differed, before the repair where one was asked for; how many operations the repair did.',
    ],
    arguments: [],
    options: { repair: { meaning: 'put right what differs' }, json, quiet },
    exits: [
      ['0', 'the kernel equals the state, after the repair where one was asked for'],
      ['1', 'it differs'],
      ['2', 'that cannot be told, or the command line makes no sense'],
    ],
    environment: [runDir],
    examples: [
      ['skep verify', 'says what differs'],
      ['skep verify --repair', 'puts it right, and says what it was'],
    ],
  },
  status: {
    summary: 'show revisions and errors of the dataplane',
    description: [
      'What skep-dataplane on this node says of itself: its balancer engine, the revision of the state it was given and of the one that the kernel holds, ' +
        'how often it repaired drift, nodes that do not answer this one, and the last error.',
    ],
    arguments: [],
    options: { json },
    exits: [
      ['0', 'the last pass went well'],
      ['1', 'it failed; the last error says how'],
      ['2', 'skep-dataplane cannot be asked, or the command line makes no sense'],
    ],
    environment: [runDir],
    examples: [['skep status --json', 'for scripts']],
  },
  trace: {
    summary: "show the ways to a service's tasks, what was counted, and where they stop",
    description: [
      "The ways from this node to the tasks of a service, hop by hop, with the balancer's counters, and where they stop: by the state, by what the kernel lacks, " +
        'or by calls that get no answer.',
    ],
    arguments: [
      {
        name: 'SERVICE',
        meaning: 'a service: its name, its id, or a port that it publishes (8080, 53/udp)',
        completes: 'services',
      },
    ],
    options: {
      from: {
        value: 'CLIENT',
        default: '',
        meaning: 'only calls of this client: an address, or the name of a task or container',
      },
      json,
    },
    exits: [
      ['0', 'shown'],
      ['1', 'this node knows no such service or client'],
      ['2', 'skep-dataplane cannot be asked, or the command line makes no sense'],
    ],
    environment: [runDir],
    examples: [
      ['skep trace web', 'all ways to the service web'],
      ['skep trace 8080 --from 192.0.2.7', 'what became of the calls of one client'],
    ],
  },
  backup: {
    summary: 'write the whole swarm to a file, sealed with a passphrase',
    description: [
      'On any manager, while it runs. The file holds the whole swarm, its root key included; keep it and the passphrase apart. It is there whole or not at all, and for its owner alone.',
    ],
    arguments: [{ name: 'FILE', meaning: 'where the backup goes', completes: 'file' }],
    options: {
      'passphrase-file': passphraseFile,
      force: { meaning: 'replace FILE if it is there already' },
      quiet,
    },
    exits: [['0', 'the backup is written'], ['1', 'refused or failed; nothing was written'], usageExit],
    environment: [runDir],
    examples: [
      ['skep backup /root/swarm.backup', 'asks for a passphrase, twice'],
      ['skep backup --force --passphrase-file /root/word /root/swarm.backup', 'from a timer'],
    ],
  },
  restore: {
    summary: 'bring a swarm back with this node as its manager',
    description: [
      "On a host of no swarm, or on the manager whose store is lost. Nodes that find this one at a manager's address of before come back by themselves; " +
        'others leave ("docker swarm leave --force") and join anew.',
    ],
    arguments: [{ name: 'FILE', meaning: 'the backup', completes: 'file' }],
    options: {
      'passphrase-file': passphraseFile,
      'advertise-addr': { value: 'ADDRESS', default: '', meaning: 'as of "docker swarm init"' },
      'listen-addr': { value: 'ADDRESS', default: '', meaning: 'as of "docker swarm init"' },
      'data-path-addr': { value: 'ADDRESS', default: '', meaning: 'as of "docker swarm init"' },
      quiet,
    },
    exits: [['0', 'the swarm is back'], ['1', 'refused or failed'], usageExit],
    environment: [runDir],
    examples: [
      ['skep restore /root/swarm.backup --advertise-addr 192.0.2.1', 'on a host with several addresses'],
    ],
  },
  doctor: {
    summary: 'tell whether this kernel and engine can run Skep, and what mends it if not',
    description: [
      'Tries what Skep needs, each thing for real, in a network namespace that lives as long as the probe. Nothing on the host changes but modules that the kernel ' +
        'loads on demand. What only the other balancer engine needs may be missing.',
    ],
    arguments: [],
    options: { json, quiet },
    exits: [['0', 'all is there'], ['1', 'something is missing'], usageExit],
    environment: [runDir, engine, balancer],
    examples: [['sudo skep doctor', 'most probes need root']],
  },
  config: {
    summary: "check and show the options of this host's daemons",
    description: [
      'Options are in /etc/skep/skep.toml; an environment variable goes before the file, the file before the default.',
    ],
    arguments: [],
    options: {},
    exits: [],
    environment: [configFile],
    examples: [['skep config check', 'before a daemon is restarted']],
    commands: {
      check: {
        summary: 'check a file of options as the daemons do',
        description: [
          'The file by itself, whatever the environment says.',
          'With --json: {"file", "exists", "findings": [{"from", "line", "daemons", "what", "means", "todo"}]}.',
        ],
        arguments: [
          {
            name: 'FILE',
            meaning: 'the file; without it, the one that the daemons read',
            optional: true,
            completes: 'file',
          },
        ],
        options: { json },
        exits: [
          ['0', 'the file is fine, or there is none'],
          ['1', 'something in it is wrong'],
          ['2', 'that cannot be told, or the command line makes no sense'],
        ],
        environment: [configFile],
        examples: [['skep config check /root/skep.toml', 'before it is put in place']],
      },
      show: {
        summary: 'show every option, its value, and where that is from',
        description: [
          'As a file of options, which can be one again.',
          'With --json: {"file", "exists", "options": [{"name", "value", "from", "variable"}], "findings": [...]}, with "from" one of environment, file and default.',
        ],
        arguments: [],
        options: { json },
        exits: [
          ['0', 'shown'],
          ['1', 'shown, and something is wrong'],
          ['2', 'the file cannot be read, or the command line makes no sense'],
        ],
        environment: [configFile],
        examples: [['skep config show --json', 'for scripts']],
      },
      example: {
        summary: 'print a file of options with every one explained',
        description: ['All options are commented out, so that the file changes nothing until it is changed.'],
        arguments: [],
        options: {},
        exits: [['0', 'printed'], usageExit],
        examples: [['skep config example', 'what the package puts at /etc/skep/skep.toml']],
      },
    },
  },
  lab: {
    summary: 'run a cluster of real nodes on this machine',
    description: [
      'A lab is a few hosts on a network of their own, each with an engine, daemons, disk and identity of its own, and a client beside them. ' +
        'It is for trying and testing Skep; it needs root, and a checkout of Skep that scripts/setup.sh has prepared: a package has no labs.',
    ],
    arguments: [],
    options: {},
    exits: [],
    examples: [
      ['skep lab up --init', 'a swarm of three nodes'],
      ['skep lab exec node1 -- docker node ls', 'the stock CLI in a node'],
      ['skep lab down', 'nothing is left'],
    ],
    commands: labCommands,
  },
  completion: {
    summary: 'print the completion script of a shell',
    description: [
      'The package installs these scripts. Without it: for bash, source the script in ~/.bashrc; for zsh, put it as _skep into a directory of $fpath; ' +
        'for fish, put it as skep.fish into ~/.config/fish/completions.',
    ],
    arguments: [{ name: 'SHELL', meaning: 'which shell', values: shells }],
    options: {},
    exits: [['0', 'printed'], usageExit],
    examples: [['source <(skep completion bash)', 'in the bash that runs now']],
  },
  help: {
    summary: 'show the help of a command',
    description: ['The same as "skep COMMAND --help". "man skep-COMMAND" has it as a page.'],
    arguments: [
      {
        name: 'COMMAND...',
        meaning: 'a command; without it, all of them are listed',
        optional: true,
        completes: 'commands',
      },
    ],
    options: {},
    exits: [['0', 'shown'], usageExit],
    examples: [['skep help lab up', 'of a command of a command']],
  },
  version: {
    summary: 'print the version',
    description: ['The same as "skep --version".'],
    arguments: [],
    options: {},
    exits: [['0', 'printed'], usageExit],
    examples: [['skep version', "this one's"]],
  },
  __complete: {
    summary: 'print what a word can be, for the scripts of completion',
    description: ['One word a line. What cannot be asked offers nothing, and is no error.'],
    arguments: [
      { name: 'KIND', meaning: 'what is asked for', values: ['labs', 'nodes', 'services'] },
      { name: 'LAB', meaning: 'whose nodes', optional: true },
    ],
    options: {},
    exits: [['0', 'printed'], usageExit],
    examples: [],
    hidden: true,
  },
} as const satisfies CommandTable;

/** `skep` itself. */
export const skep: CommandAt = {
  path: ['skep'],
  spec: {
    summary: 'look at this node of a Skep swarm, back it up, and try one in a lab',
    description: [
      'Docker Swarm mode with its own network dataplane. Everything about the cluster is the docker CLI, pointed at unix:///run/skep/docker.sock; ' +
        'this command looks at the node.',
    ],
    arguments: [],
    options: { version: { meaning: 'print the version' } },
    exits: [
      ['0', 'as asked'],
      ['1', 'the answer is no, or it failed'],
      ['2', 'no answer, or the command line makes no sense'],
    ],
    environment: [runDir],
    examples: [],
    commands,
  } satisfies CommandSpec,
};

type NamesIn<T> = {
  [N in keyof T & string]: T[N] extends { readonly commands: infer Below } ? `${N} ${NamesIn<Below>}` : N;
}[keyof T & string];

/** `verify`, `lab up`: what has code of its own behind it. The dispatcher answers `help` and `version`. */
export type CommandName = Exclude<NamesIn<typeof commands>, 'help' | 'version'>;
