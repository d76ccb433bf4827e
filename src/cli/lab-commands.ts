/** The subcommands of `skep lab`, as data. What they do is in ../lab/main.ts, which a package has not: it has their help all the same. */
import { sharedOptions, usageExit } from './command-spec.js';
import type { CommandTable } from './command-spec.js';

/** The kernels that `--kernel` names; ../lab/kernels.ts has what each is. */
export const kernelNames = ['host', 'uml', 'qemu'] as const;
/** What `--balancer` takes. */
export const balancerNames = ['ipvs', 'ebpf', 'auto'] as const;
export const defaultLab = 'lab';

const name = {
  value: 'NAME',
  default: defaultLab,
  meaning: 'the lab',
  completes: 'labs',
} as const;
const node = { name: 'NODE', meaning: 'a node of the lab: node1, node2, ...', completes: 'nodes' } as const;
const failed = ['1', 'it failed; the error says why'] as const;
const exits = [['0', 'done'], failed, usageExit] as const;
const { json, quiet } = sharedOptions;

export const labCommands = {
  up: {
    summary: 'start hosts with their daemons',
    description: [
      'Makes a lab: machines on a network of their own, each with a Docker Engine and the daemons of this checkout, and a client beside them. ' +
        'It is there once every daemon answers; when a step fails, all of it is taken down again. A lab needs root.',
    ],
    arguments: [],
    options: {
      name: {
        value: 'NAME',
        default: defaultLab,
        meaning: 'what the lab is called: a-z, 0-9 and -, up to 20 of them',
      },
      nodes: { value: 'COUNT', default: '3', meaning: 'how many nodes, 1 to 100' },
      managers: { value: 'COUNT', default: '1', meaning: 'with --init: how many of them are managers' },
      init: { meaning: 'make a swarm of them' },
      kernel: {
        value: 'KERNEL',
        default: 'host',
        values: kernelNames,
        meaning:
          'what the nodes run on: "host", this machine\'s own kernel; "uml", user-mode Linux, which has IPVS whatever this machine has; ' +
          '"qemu", Debian 12\'s stock kernel in QEMU, which is slow',
      },
      balancer: {
        value: 'ENGINE',
        values: balancerNames,
        meaning: 'the balancer engine; without it, the one that the kernel suggests',
      },
      allow: {
        value: 'WHAT',
        meaning: "what services may have of the nodes' host, as SKEP_ALLOW of skepd(8) says it",
      },
      engine: {
        value: 'DIR',
        completes: 'file',
        meaning:
          "the directory of the dockerd that nodes run, instead of this machine's own; setup.sh keeps a later one in /var/cache/skep-lab/engine/current",
      },
      package: {
        value: 'FILE',
        completes: 'file',
        meaning:
          'a package of Skep, which each node installs and runs the daemons of, instead of those of this checkout; "npm run package" builds it in dist-package',
      },
      'engine-only': { meaning: 'do not wait for the daemons of Skep, only for the engines' },
      quiet,
    },
    exits,
    examples: [
      ['skep lab up --init', 'three nodes, one of them a manager'],
      ['skep lab up --name big --nodes 7 --managers 3 --init', 'another lab beside it'],
    ],
  },
  down: {
    summary: 'end a lab and leave nothing of it',
    description: [
      'Ends the machines and removes their disks, logs and networks, of a lab that is not complete too. That there is no such lab is no error.',
    ],
    arguments: [],
    options: { name, quiet },
    exits,
    examples: [['skep lab down --name big', 'ends the lab called big']],
  },
  ls: {
    summary: 'list the labs of this machine',
    description: [
      'One line a lab: its name, how many of its nodes run, their kernel, and whether it is complete. One that is not is being made, ' +
        'or was left by a "skep lab up" that was killed; "skep lab down" ends it.',
      'With --json: [{"name", "nodes", "running", "kernel", "complete"}]; "kernel" is absent where nothing was started.',
    ],
    arguments: [],
    options: { json },
    exits,
    examples: [['skep lab ls --json', 'for scripts']],
  },
  status: {
    summary: 'show the nodes and the cuts between them',
    description: [
      'One line a node: its name, its address, whether it runs, and the pid of its first process; then one line a cut.',
      'With --json: {"name", "nodes": [{"name", "address", "state", "pid"}], "cuts": [[A, B]]}; a node that is off has no "pid".',
    ],
    arguments: [],
    options: { name, json },
    exits,
    examples: [['skep lab status --name big --json', 'for scripts']],
  },
  exec: {
    summary: 'run a command in a node',
    description: [
      "Its input, output and exit code are the command's own. The docker CLI in a node speaks to Skep.",
    ],
    arguments: [node],
    options: { name },
    command: 'runs in the node',
    exits: [
      ['0-255', "the command's own"],
      ['125', 'the command could not be run'],
    ],
    examples: [['skep lab exec node1 -- docker node ls', 'the stock CLI on a manager']],
  },
  client: {
    summary: 'run a command on a machine outside the cluster',
    description: [
      "Its input, output and exit code are the command's own. The machine has an address on the nodes' network, 192.168.60.200.",
    ],
    arguments: [],
    options: { name },
    command: 'runs outside the cluster',
    exits: [
      ['0-255', "the command's own"],
      ['125', 'the command could not be run'],
    ],
    examples: [
      ['skep lab client -- curl -s http://192.168.60.2:8080/', 'a published port, as a client sees it'],
    ],
  },
  logs: {
    summary: "show what a node's daemons and console said",
    description: ['Prints every log of the node, each below its path. A node that is off has its logs, too.'],
    arguments: [node],
    options: { name },
    exits,
    examples: [['skep lab logs node2', 'all logs of node2']],
  },
  kill: {
    summary: "cut a node's power",
    description: [
      'Nothing in the node gets to say a word. Its disk stays as it is; "skep lab start" starts it again.',
    ],
    arguments: [node],
    options: { name },
    exits,
    examples: [['skep lab kill node2', 'as if its plug were pulled']],
  },
  start: {
    summary: 'start a node that is off',
    description: ['It is back once its daemons answer. Its disk is as the power cut left it.'],
    arguments: [node],
    options: { name, quiet },
    exits,
    examples: [['skep lab start node2', 'after "skep lab kill node2"']],
  },
  cut: {
    summary: 'drop all frames between two nodes',
    description: ['Both ways, from now on, until "skep lab heal". The client is called "client".'],
    arguments: [
      { name: 'A', meaning: 'a node of the lab, or "client"', completes: 'nodes' },
      { name: 'B', meaning: 'another node, or "client"', completes: 'nodes' },
    ],
    options: { name },
    exits,
    examples: [['skep lab cut node1 node2', 'they do not hear each other any more']],
  },
  heal: {
    summary: 'remove all cuts',
    description: ['Frames go between all nodes again.'],
    arguments: [],
    options: { name },
    exits,
    examples: [['skep lab heal', 'the network is whole']],
  },
} as const satisfies CommandTable;

export type LabCommand = keyof typeof labCommands;
