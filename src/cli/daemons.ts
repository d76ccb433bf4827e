/** The two daemons, as their manual pages tell of them. They take no arguments. */
import { options } from '../options/table.js';
import type { Environment } from './command-spec.js';
import { wellKnown } from './environment.js';

export interface DaemonSpec {
  readonly name: 'skepd' | 'skep-dataplane';
  readonly summary: string;
  readonly description: readonly string[];
  readonly environment: Environment;
  readonly files: readonly (readonly [path: string, meaning: string])[];
  readonly seeAlso: readonly string[];
}

/** What each option of skep.toml is called in the environment, and what it means, without the marks of the documentation. */
const environmentOf = (name: DaemonSpec['name']): Environment => [
  wellKnown.configFile,
  ...options
    .filter(({ daemons: readers }) => readers.includes(name))
    .map((option): readonly [string, string] => [
      option.env,
      `${option.summary.replaceAll('`', '')} In the file: [${option.table}] ${option.key}.`,
    ]),
];

export const daemons: readonly DaemonSpec[] = [
  {
    name: 'skepd',
    summary: 'control plane and agent of a Skep swarm',
    description: [
      'On a manager it supervises etcd, serves the Docker API with swarm mode, and runs the loops and the dispatcher while it leads. On every node it runs the agent, ' +
        "which drives the Docker Engine. What is not swarm's goes straight to the engine.",
      'Stopping it stops no container and no packet; etcd and tasks go on, and it finds them again. It logs JSON, a line each, to standard error.',
    ],
    environment: environmentOf('skepd'),
    files: [
      ['/etc/skep/skep.toml', 'the options; "skep config example" prints one with all of them explained'],
      ['/run/skep/docker.sock', 'the Docker API: docker -H unix:///run/skep/docker.sock'],
      ['/var/lib/skep/swarm', "this node's membership, certificates, and the store of a manager"],
    ],
    seeAlso: ['skep(1)', 'skep-config(1)', 'skep-backup(1)', 'skep-dataplane(8)', 'docker(1)'],
  },
  {
    name: 'skep-dataplane',
    summary: 'network dataplane of a Skep swarm',
    description: [
      'It is the network and IPAM driver "skep" of the Docker Engine, holds what this node\'s network should be, and makes the kernel equal to it: namespaces, bridges, VXLAN, ' +
        'neighbours, rules, and the balancer, IPVS or eBPF. It answers the names of services. After a restart it needs neither skepd nor a manager.',
      'Stopping it stops no packet: the kernel keeps all. It needs root, and there is one in a network namespace. It logs JSON, a line each, to standard error.',
    ],
    environment: environmentOf('skep-dataplane'),
    files: [
      ['/etc/skep/skep.toml', 'the options; "skep config example" prints one with all of them explained'],
      ['/run/docker/plugins/skep.sock', 'where the engine finds the driver'],
      ['/run/skep/dataplane.sock', 'where skepd and skep ask it'],
      ['/var/lib/skep/dataplane', 'the state that it restores the network from'],
    ],
    seeAlso: [
      'skep-config(1)',
      'skep-verify(1)',
      'skep-status(1)',
      'skep-trace(1)',
      'skep-doctor(1)',
      'skepd(8)',
    ],
  },
];
