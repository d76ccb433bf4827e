/**
 * Every option of the two daemons, once: reading, checks, the commented skep.toml and docs/configuration.md are made of this table.
 * No option is a secret: files that hold one are named here, and what is in them is never read from here.
 */
import { engineNames } from '../dataplane/plan/balancing.js';
import type { OptionData } from './data.js';
import type { Kind } from './kinds.js';
import * as kinds from './kinds.js';

export const daemonNames = ['skepd', 'skep-dataplane'] as const;
export type DaemonName = (typeof daemonNames)[number];

export interface OptionRow<T> {
  readonly kind: Kind<T>;
  readonly default: NoInfer<T>;
  /** The environment variable that goes before the file. */
  readonly env: string;
  /** Who reads it, and does not start with one that is wrong. */
  readonly daemons: readonly DaemonName[];
  /** What it is, what it does, in whole sentences. Backquotes are the documentation's. */
  readonly summary: string;
  /** Another value than the default, in the file's words. */
  readonly example: OptionData;
  /** What a wrong value in the environment counts as, and what that means; without it, a daemon does not start with one. */
  readonly wrongInEnvironment?: { readonly value: NoInfer<T>; readonly means: string };
}

const option = <T>(row: OptionRow<T>): OptionRow<T> => row;
const both = daemonNames;

const engineChoice = kinds.oneOf(['auto', ...engineNames]);
/** pino's. */
const logLevel = kinds.oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']);

/** By `table.key`, in the order of file and documentation. */
export const optionTable = {
  'paths.state-dir': option({
    kind: kinds.path,
    default: '/var/lib/skep',
    env: 'SKEP_STATE_DIR',
    daemons: both,
    summary:
      "Directory of what is kept: the node's certificate, its managers' store, and the network it last had. It belongs to root alone. " +
      'Move what is in it along with it, with both daemons stopped.',
    example: '/srv/skep',
  }),
  'paths.run-dir': option({
    kind: kinds.path,
    default: '/run/skep',
    env: 'SKEP_RUN_DIR',
    daemons: both,
    summary:
      "Directory of the sockets (`docker.sock`, `dataplane.sock`) and of secrets' files while tasks run: a directory in memory, such as below `/run`. " +
      'The `skep` command looks for the daemons here, too.',
    example: '/run/skep-test',
  }),
  'engine.address': option({
    kind: kinds.unixAddress,
    default: 'unix:///var/run/docker.sock',
    env: 'SKEP_ENGINE',
    daemons: both,
    summary: "Socket of this host's Docker Engine, which both daemons and `skep doctor` ask.",
    example: 'unix:///run/docker-2.sock',
  }),
  'engine.prefer-offline-images': option({
    kind: kinds.flag('1'),
    default: false,
    env: 'DOCKER_SERVICE_PREFER_OFFLINE_IMAGE',
    daemons: ['skepd'],
    summary:
      'Whether a task takes the image that its node has, without a question to the registry, and pulls only what is not there. ' +
      "The variable is dockerd's own; `1` is true and all else is false in it.",
    example: true,
  }),
  'api.hosts': option({
    kind: kinds.tcpHosts,
    default: [],
    env: 'SKEP_HOSTS',
    daemons: ['skepd'],
    summary:
      'Where the Docker API is served over TCP, beside the unix socket, which is always there. Port 2376 unless said otherwise. ' +
      'It needs `tls-ca`, `tls-cert` and `tls-key`: clients have a certificate, whose organizational unit is their role ' +
      '(`skep-read-only`, `skep-operator`, `skep-admin`). In the variable there are commas between.',
    example: ['tcp://0.0.0.0:2376'],
  }),
  'api.tls-ca': option({
    kind: kinds.optionalPath,
    default: '',
    env: 'SKEP_TLSCACERT',
    daemons: ['skepd'],
    summary:
      "PEM file of the authority whose certificates clients on TCP must have. One of your own, not the swarm's.",
    example: '/etc/skep/ca.pem',
  }),
  'api.tls-cert': option({
    kind: kinds.optionalPath,
    default: '',
    env: 'SKEP_TLSCERT',
    daemons: ['skepd'],
    summary:
      'PEM file of the certificate that skepd shows on TCP. It and the other two are read again when they change.',
    example: '/etc/skep/server.pem',
  }),
  'api.tls-key': option({
    kind: kinds.optionalPath,
    default: '',
    env: 'SKEP_TLSKEY',
    daemons: ['skepd'],
    summary:
      "PEM file of that certificate's key, readable for root alone. The path; the key itself does not belong here.",
    example: '/etc/skep/server-key.pem',
  }),
  'api.group': option({
    kind: kinds.group,
    default: 'docker',
    env: 'SKEP_GROUP',
    daemons: ['skepd'],
    summary:
      'Group whose members may open the unix socket, and thereby are root on this host. Empty: root alone. ' +
      'Where nothing is said, it is `docker` if this host has such a group; a group that is named must be there.',
    example: 'skep',
  }),
  'services.allow': option({
    kind: kinds.allowance,
    default: [],
    env: 'SKEP_ALLOW',
    daemons: ['skepd'],
    summary:
      'What services may have of this host by the labels `skep.devices`, `skep.privileged` and `skep.shm-size`; nothing unless it is said here. ' +
      'In `devices=/dev/NAME` a `*` stands for anything but a slash, and a directory for all devices in it. In the variable there are commas between.',
    example: ['devices=/dev/ttyUSB*', 'devices=/dev/snd/*', 'shm-size'],
    wrongInEnvironment: { value: [], means: 'services are allowed nothing of this host' },
  }),
  'balancer.engine': option({
    kind: engineChoice,
    default: 'auto',
    env: 'SKEP_BALANCER',
    daemons: ['skep-dataplane'],
    summary:
      "What balances. `auto`: what has this node's flows already, else `ebpf` where the kernel runs it at full speed, else `ipvs` where the kernel has it " +
      '(docs/adr/0048). A change ends flows.',
    example: 'ipvs',
  }),
  'balancer.bpf-dir': option({
    kind: kinds.path,
    default: '/sys/fs/bpf/skep',
    env: 'SKEP_BPF_DIR',
    daemons: ['skep-dataplane'],
    summary:
      'Directory in a BPF file system, for the maps and programs of `ebpf`: flows outlive the daemon there.',
    example: '/sys/fs/bpf/skep-test',
  }),
  'metrics.dataplane-address': option({
    kind: kinds.listenAddress,
    default: { host: '127.0.0.1', port: 9471 },
    env: 'SKEP_DATAPLANE_METRICS',
    daemons: ['skep-dataplane'],
    summary:
      'Where skep-dataplane serves its metrics (`GET /metrics`, for Prometheus). Empty: nowhere. Whoever reaches it reads it, so let only ' +
      "a network of yours reach another address than the loopback's.",
    example: '192.0.2.1:9471',
  }),
  'metrics.controlplane-address': option({
    kind: kinds.listenAddress,
    default: { host: '127.0.0.1', port: 9472 },
    env: 'SKEP_CONTROLPLANE_METRICS',
    daemons: ['skepd'],
    summary: 'Where skepd serves its metrics; all else as above.',
    example: '192.0.2.1:9472',
  }),
  'metrics.per-endpoint': option({
    kind: kinds.flag('1'),
    default: false,
    env: 'SKEP_METRICS_PER_ENDPOINT',
    daemons: ['skep-dataplane'],
    summary:
      'Whether connections, packets and octets are also told for each task that this node sends to. There may be a hundred times as many of them.',
    example: true,
  }),
  'log.level': option({
    kind: logLevel,
    default: 'info',
    env: 'SKEP_LOG',
    daemons: both,
    summary:
      'The least that is logged (JSON lines on standard error, which systemd keeps: `journalctl -u skepd`).',
    example: 'debug',
  }),
} as const;

export type OptionName = keyof typeof optionTable;
export type OptionValues = {
  readonly [Name in OptionName]: ReturnType<(typeof optionTable)[Name]['kind']['parse']>;
};

/** A row with its name in its parts. */
export interface NamedOption extends OptionRow<unknown> {
  readonly name: OptionName;
  readonly table: string;
  readonly key: string;
}

export const options: readonly NamedOption[] = Object.entries(optionTable).map(([name, row]) => {
  const [table = '', key = ''] = name.split('.');
  return { ...(row as OptionRow<unknown>), name: name as OptionName, table, key };
});

/** What each table is about, in the order of the file. */
export const tableSummaries: Readonly<Record<string, string>> = {
  paths: 'Where the daemons keep what they have.',
  engine: 'The Docker Engine of this host.',
  api: 'Who may talk to skepd, and where.',
  services: 'What services may have of this host. No manager can change it (docs/adr/0033).',
  balancer: 'What balances requests among tasks (docs/adr/0013).',
  metrics: 'Where metrics are served.',
  log: 'What is logged.',
};
