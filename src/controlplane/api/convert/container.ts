/** Docker's ContainerSpec and all below it, as tables (service.ts has the rest of a service). */
import { SkepError } from '../../../model/errors.js';
import type {
  ContainerSpec,
  HealthConfig,
  LogDriver,
  Mount,
  Privileges,
} from '../../../model/service-spec.js';
import {
  always,
  bool,
  bytes,
  choice,
  duration,
  field,
  fileMode,
  hidden,
  int,
  int64,
  labels,
  list,
  opt,
  ptr,
  strings,
  struct,
  text,
  via,
} from './codec.js';
import type { Codec } from './codec.js';
import { JsonObject } from './json.js';
import { configReference, secretReference } from './payload.js';
import type { Json } from './json.js';

const refusal = (message: string): SkepError => new SkepError('invalidArgument', message);

const healthConfig = struct<HealthConfig>(
  'HealthConfig',
  {
    test: field('Test', strings),
    intervalNs: field('Interval', duration),
    timeoutNs: field('Timeout', duration),
    startPeriodNs: field('StartPeriod', duration),
    startIntervalNs: field('StartInterval', duration, 44),
    retries: field('Retries', int),
  },
  { package: 'container' },
);

const propagations = ['rprivate', 'private', 'rslave', 'slave', 'rshared', 'shared'] as const;

type BindOptions = NonNullable<Mount['bindOptions']>;

const bindOptions = struct<BindOptions>(
  'BindOptions',
  {
    propagation: field(
      'Propagation',
      via(
        choice({
          go: 'mount.Propagation',
          values: [...propagations, ''],
          absent: '',
          anyCase: true,
          refuse: (word) => `invalid MountPropagation: "${word}"`,
        }),
        (word) => (word === '' ? undefined : word),
        (word) => word ?? '',
      ) satisfies Codec<string | undefined> as Codec<string | undefined>,
    ),
    nonRecursive: field('NonRecursive', opt(bool)),
    // Swarm drops these three without a word.
    createMountpoint: field('CreateMountpoint', opt(bool), 42),
    readOnlyNonRecursive: field('ReadOnlyNonRecursive', opt(bool), 44),
    readOnlyForceRecursive: field('ReadOnlyForceRecursive', opt(bool), 44),
  },
  { package: 'mount' },
);

type VolumeOptions = NonNullable<Mount['volumeOptions']>;

const volumeOptions = struct<VolumeOptions>(
  'VolumeOptions',
  {
    noCopy: field('NoCopy', opt(bool)),
    labels: field('Labels', opt(labels)),
    // Clients of any version can set it, once the engine knows it.
    subpath: field('Subpath', opt(text), { request: 0, engine: 45 }),
    driverConfig: field(
      'DriverConfig',
      ptr(
        struct<LogDriver>(
          'Driver',
          { name: field('Name', text), options: field('Options', labels) },
          { package: 'mount' },
        ),
      ),
    ),
  },
  { package: 'mount' },
);

const tmpfsOptions = struct<NonNullable<Mount['tmpfsOptions']>>(
  'TmpfsOptions',
  {
    sizeBytes: field('SizeBytes', opt(int64)),
    mode: field('Mode', opt(fileMode)),
    options: field('Options', opt(list(strings)), 46),
  },
  { package: 'mount' },
);

/** What Docker has and no node of Skep could mount. */
const unmountable: Readonly<Record<string, string>> = {
  npipe: 'named pipes are of Windows',
  cluster: 'cluster volumes are not supported',
};

const mountTypeRefusal = (word: string): string => {
  const why = unmountable[word.toLowerCase()];
  return `invalid MountType: "${word}"${why === undefined ? '' : `: ${why}`}`;
};

const mount = struct<Mount>(
  'Mount',
  {
    // Empty is bind at this layer; the CLI always sends a type.
    type: always(
      'Type',
      choice({
        go: 'mount.Type',
        values: ['bind', 'volume', 'tmpfs'],
        absent: 'bind',
        anyCase: true,
        refuse: mountTypeRefusal,
      }),
    ),
    source: field('Source', text),
    target: field('Target', text),
    readOnly: field('ReadOnly', bool),
    bindOptions: field(
      'BindOptions',
      // Without any these are nothing, and with any there is a propagation, as in Swarm.
      via(
        ptr(bindOptions),
        (options) =>
          options && Object.keys(options).length > 0 ? { propagation: 'rprivate', ...options } : undefined,
        (options) => options,
      ),
    ),
    volumeOptions: field('VolumeOptions', ptr(volumeOptions)),
    tmpfsOptions: field('TmpfsOptions', ptr(tmpfsOptions)),
  },
  { package: 'mount' },
);

const sources = ['Config', 'File', 'Registry'];

/** Credential specs are of Windows: what is wrong with one in Docker's words, and otherwise that. */
function credentialSpecRefusal(json: NonNullable<Json>): SkepError {
  const given = sources.filter((key) => ![null, ''].includes(member(json, key) as string | null));
  const quoted = given.map((key) => `"${key.toLowerCase()}"`);
  const last = quoted.pop();
  if (last === undefined)
    return refusal(
      'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec',
    );
  if (quoted.length > 0)
    return refusal(
      `invalid CredentialSpec: cannot specify both ${quoted.join(', ')}${quoted.length > 1 ? ',' : ''} and ${last} credential specs`,
    );
  return refusal(
    'invalid CredentialSpec: credential specs are of Windows, and there are no nodes of Windows',
  );
}

const seccomp: Codec<NonNullable<Privileges['seccomp']>> = via(
  struct<NonNullable<Privileges['seccomp']>>('SeccompOpts', {
    // An unknown mode is the default one in Docker; here nobody gets less protection than asked for.
    mode: field(
      'Mode',
      choice({
        go: 'swarm.SeccompMode',
        values: ['default', 'unconfined', 'custom'],
        absent: 'default',
        refuse: (word) => `invalid seccomp mode: "${word}"`,
      }),
    ),
    profile: field('Profile', bytes),
  }),
  (options, at) => {
    if (options.mode === 'custom' && !isJsonObject(options.profile))
      at.refuse(refusal('invalid seccomp profile: mode "custom" needs a profile in JSON'));
    return options;
  },
  (options) => options,
);

function isJsonObject(base64: string): boolean {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64, 'base64').toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

const privileges = struct<Privileges>(
  'Privileges',
  {
    seLinuxContext: always(
      'SELinuxContext',
      ptr(
        struct<NonNullable<Privileges['seLinuxContext']>>('SELinuxContext', {
          disable: always('Disable', bool),
          user: always('User', text),
          role: always('Role', text),
          type: always('Type', text),
          level: always('Level', text),
        }),
      ),
    ),
    seccomp: field('Seccomp', ptr(seccomp), 44),
    appArmor: field(
      'AppArmor',
      ptr(
        struct<NonNullable<Privileges['appArmor']>>('AppArmorOpts', {
          mode: field(
            'Mode',
            choice({
              go: 'swarm.AppArmorMode',
              values: ['default', 'disabled'],
              absent: 'default',
              refuse: (word) => `invalid AppArmor mode: "${word}"`,
            }),
          ),
        }),
      ),
      44,
    ),
    noNewPrivileges: always('NoNewPrivileges', bool, 44),
  },
  { constants: { CredentialSpec: null }, refused: { CredentialSpec: credentialSpecRefusal } },
);

/** Anything but these two is the default in Docker, which rejects the tasks of these on every other system. */
function isolationRefusal(json: NonNullable<Json>): SkepError | undefined {
  const isolation = typeof json === 'string' ? json.toLowerCase() : '';
  return ['hyperv', 'process'].includes(isolation)
    ? refusal(`invalid isolation '${isolation}' on linux`)
    : undefined;
}

/** A member of an object, its key in any case; null: there is none. */
const member = (value: Json, wanted: string): Json =>
  value instanceof JsonObject
    ? (value.entries.find(([name]) => name.toLowerCase() === wanted.toLowerCase())?.[1] ?? null)
    : null;

export const containerSpec = struct<ContainerSpec>(
  'ContainerSpec',
  {
    image: field('Image', text),
    labels: field('Labels', labels),
    command: field('Command', strings),
    args: field('Args', strings),
    hostname: field('Hostname', opt(text)),
    env: field('Env', strings),
    dir: field('Dir', opt(text)),
    user: field('User', opt(text)),
    groups: field('Groups', strings),
    privileges: field('Privileges', ptr(privileges)),
    init: field('Init', ptr(bool)),
    stopSignal: field('StopSignal', opt(text)),
    tty: field('TTY', bool),
    openStdin: field('OpenStdin', bool),
    readOnly: field('ReadOnly', bool),
    mounts: field('Mounts', list(mount)),
    stopGracePeriodNs: field('StopGracePeriod', ptr(duration)),
    healthcheck: field('Healthcheck', ptr(healthConfig)),
    hosts: field('Hosts', strings),
    dnsConfig: field(
      'DNSConfig',
      ptr(
        struct<NonNullable<ContainerSpec['dnsConfig']>>('DNSConfig', {
          nameservers: field('Nameservers', strings),
          search: field('Search', strings),
          options: field('Options', strings),
        }),
      ),
    ),
    sysctls: field('Sysctls', labels, 40),
    capabilityAdd: field('CapabilityAdd', strings, 41),
    capabilityDrop: field('CapabilityDrop', strings, 41),
    ulimits: field(
      'Ulimits',
      list(
        struct<ContainerSpec['ulimits'][number]>(
          'Ulimit',
          { name: always('Name', text), hard: always('Hard', int64), soft: always('Soft', int64) },
          { package: 'units' },
        ),
      ),
      41,
    ),
    oomScoreAdj: field('OomScoreAdj', opt(int64), 46),
    secrets: field('Secrets', opt(list(secretReference))),
    configs: field('Configs', opt(list(configReference)), 30),
    registryAuth: hidden(undefined),
  },
  {
    constants: { Isolation: 'default' },
    refused: {
      Isolation: isolationRefusal,
    },
  },
);
