/**
 * Every field of a service, changed alone: does it replace tasks? The table is of the type of the spec, as the codec's tables are, so
 * that a new field without a row does not compile.
 */
import { expect, test } from 'vitest';
import { decodeAs } from '../../../src/controlplane/api/convert/codec.js';
import { parseJson } from '../../../src/controlplane/api/convert/json.js';
import { serviceSpec as codec } from '../../../src/controlplane/api/convert/service.js';
import { defaultUpdateConfig } from '../../../src/model/service-laws.js';
import type { ServiceSpec, TaskSpec } from '../../../src/model/service-spec.js';
import { node, service } from '../../support/cluster-objects.js';
import { Stage } from './stage.js';

/** Replaces the task, leaves it, or replaces it where its node does not do any more; or the API refuses it (api/services.test.ts). */
type Effect = 'replaces' | 'keeps' | 'moves' | 'refused';

type Primitive = string | number | boolean;
/** Dotted paths to all that is no struct. A list of structs stands for its first. */
type Leaves<T, P extends string = ''> =
  NonNullable<T> extends Primitive
    ? P
    : NonNullable<T> extends readonly (infer I)[]
      ? NonNullable<I> extends Primitive | readonly unknown[]
        ? P
        : Leaves<I, P>
      : string extends keyof NonNullable<T>
        ? P
        : {
            [K in keyof NonNullable<T> & string]-?: Leaves<NonNullable<T>[K], P extends '' ? K : `${P}.${K}`>;
          }[keyof NonNullable<T> & string];

/** What users can say: attachments are made otherwise, and modes are told apart below. */
interface Settable extends Omit<ServiceSpec, 'mode' | 'taskTemplate'> {
  readonly taskTemplate: Omit<TaskSpec, 'networkAttachment' | 'runtime'>;
}
type Path = Leaves<Settable> | 'mode.kind' | 'mode.replicas';

const rule = { parallelism: 2, delayNs: 1, monitorNs: 1, maxFailureRatio: 0.5 } as const;

/** Everything is set: the path to a field leads through what is there. */
const base: ServiceSpec = {
  name: 'web',
  labels: { a: 'b' },
  mode: { kind: 'replicated', replicas: 1 },
  updateConfig: defaultUpdateConfig,
  rollbackConfig: defaultUpdateConfig,
  networks: [{ target: 'net1', aliases: ['a'], driverOpts: { a: 'b' } }],
  endpointSpec: {
    mode: 'vip',
    ports: [{ name: 'a', protocol: 'tcp', targetPort: 80, publishedPort: 8080, publishMode: 'ingress' }],
  },
  taskTemplate: {
    container: {
      image: 'image:1',
      labels: { a: 'b' },
      command: ['a'],
      args: ['a'],
      hostname: 'a',
      env: ['A=1'],
      dir: '/a',
      user: 'a',
      groups: ['a'],
      privileges: {
        seLinuxContext: { disable: false, user: 'a', role: 'a', type: 'a', level: 'a' },
        seccomp: { mode: 'custom', profile: 'e30=' },
        appArmor: { mode: 'default' },
        noNewPrivileges: false,
      },
      init: false,
      stopSignal: 'SIGTERM',
      tty: false,
      openStdin: false,
      readOnly: false,
      mounts: [
        {
          type: 'volume',
          source: 'a',
          target: '/a',
          readOnly: false,
          bindOptions: {
            propagation: 'rprivate',
            nonRecursive: true,
            createMountpoint: true,
            readOnlyNonRecursive: true,
            readOnlyForceRecursive: true,
          },
          volumeOptions: {
            noCopy: true,
            labels: { a: 'b' },
            subpath: 'a',
            driverConfig: { name: 'a', options: { a: 'b' } },
          },
          tmpfsOptions: { sizeBytes: 1, mode: 1, options: [['a']] },
        },
      ],
      stopGracePeriodNs: 1,
      healthcheck: {
        ...{ test: ['CMD', 'a'], intervalNs: 1, timeoutNs: 1, startPeriodNs: 1, startIntervalNs: 1 },
        retries: 1,
      },
      hosts: ['1.1.1.1 a'],
      dnsConfig: { nameservers: ['1.1.1.1'], search: ['a'], options: ['a'] },
      sysctls: { a: 'b' },
      capabilityAdd: ['CAP_A'],
      capabilityDrop: ['CAP_A'],
      ulimits: [{ name: 'a', soft: 1, hard: 1 }],
      oomScoreAdj: 1,
      secrets: [{ id: 'a', name: 'a', file: { name: 'a', uid: '1', gid: '1', mode: 0o400 } }],
      configs: [{ id: 'a', name: 'a', file: { name: 'a', uid: '1', gid: '1', mode: 0o400 } }],
      registryAuth: 'a',
    },
    resources: {
      limits: { nanoCpus: 1, memoryBytes: 1, pids: 1 },
      reservations: { nanoCpus: 1, memoryBytes: 1, genericResources: [{ kind: 'gpu', count: 1 }] },
    },
    restartPolicy: { condition: 'any', delayNs: 1, maxAttempts: 1, windowNs: 1 },
    placement: {
      constraints: ['node.role==worker'],
      preferences: [{ spreadDescriptor: 'node.labels.a' }],
      maxReplicas: 1,
      platforms: [{ architecture: 'x86_64', os: 'linux' }],
    },
    networks: [{ target: 'net1', aliases: ['a'], driverOpts: { a: 'b' } }],
    logDriver: { name: 'a', options: { a: 'b' } },
    forceUpdate: 0,
  },
};

/** To what each field is changed, and what comes of it. */
const table: Readonly<Record<Path, readonly [to: unknown, effect: Effect]>> = {
  name: ['other', 'refused'],
  labels: [{ a: 'c' }, 'keeps'],
  'mode.kind': ['global', 'refused'],
  'mode.replicas': [2, 'keeps'],
  'updateConfig.parallelism': [rule.parallelism, 'keeps'],
  'updateConfig.delayNs': [rule.delayNs, 'keeps'],
  'updateConfig.failureAction': ['rollback', 'keeps'],
  'updateConfig.monitorNs': [rule.monitorNs, 'keeps'],
  'updateConfig.maxFailureRatio': [rule.maxFailureRatio, 'keeps'],
  'updateConfig.order': ['start-first', 'keeps'],
  'rollbackConfig.parallelism': [rule.parallelism, 'keeps'],
  'rollbackConfig.delayNs': [rule.delayNs, 'keeps'],
  'rollbackConfig.failureAction': ['continue', 'keeps'],
  'rollbackConfig.monitorNs': [rule.monitorNs, 'keeps'],
  'rollbackConfig.maxFailureRatio': [rule.maxFailureRatio, 'keeps'],
  'rollbackConfig.order': ['start-first', 'keeps'],
  'networks.target': ['net2', 'refused'],
  'networks.aliases': [['b'], 'refused'],
  'networks.driverOpts': [{ a: 'c' }, 'refused'],
  'endpointSpec.mode': ['dnsrr', 'replaces'],
  'endpointSpec.ports.name': ['b', 'replaces'],
  'endpointSpec.ports.protocol': ['udp', 'replaces'],
  'endpointSpec.ports.targetPort': [81, 'replaces'],
  'endpointSpec.ports.publishedPort': [8081, 'replaces'],
  'endpointSpec.ports.publishMode': ['host', 'replaces'],
  'taskTemplate.container.image': ['image:2', 'replaces'],
  'taskTemplate.container.labels': [{ a: 'c' }, 'replaces'],
  'taskTemplate.container.command': [['b'], 'replaces'],
  'taskTemplate.container.args': [['b'], 'replaces'],
  'taskTemplate.container.hostname': ['b', 'replaces'],
  'taskTemplate.container.env': [['A=2'], 'replaces'],
  'taskTemplate.container.dir': ['/b', 'replaces'],
  'taskTemplate.container.user': ['b', 'replaces'],
  'taskTemplate.container.groups': [['b'], 'replaces'],
  'taskTemplate.container.privileges.seLinuxContext.disable': [true, 'replaces'],
  'taskTemplate.container.privileges.seLinuxContext.user': ['b', 'replaces'],
  'taskTemplate.container.privileges.seLinuxContext.role': ['b', 'replaces'],
  'taskTemplate.container.privileges.seLinuxContext.type': ['b', 'replaces'],
  'taskTemplate.container.privileges.seLinuxContext.level': ['b', 'replaces'],
  'taskTemplate.container.privileges.seccomp.mode': ['default', 'replaces'],
  'taskTemplate.container.privileges.seccomp.profile': ['eyJhIjoxfQ==', 'replaces'],
  'taskTemplate.container.privileges.appArmor.mode': ['disabled', 'replaces'],
  'taskTemplate.container.privileges.noNewPrivileges': [true, 'replaces'],
  'taskTemplate.container.init': [true, 'replaces'],
  'taskTemplate.container.stopSignal': ['SIGINT', 'replaces'],
  'taskTemplate.container.tty': [true, 'replaces'],
  'taskTemplate.container.openStdin': [true, 'replaces'],
  'taskTemplate.container.readOnly': [true, 'replaces'],
  'taskTemplate.container.mounts.type': ['bind', 'replaces'],
  'taskTemplate.container.mounts.source': ['b', 'replaces'],
  'taskTemplate.container.mounts.target': ['/b', 'replaces'],
  'taskTemplate.container.mounts.readOnly': [true, 'replaces'],
  'taskTemplate.container.mounts.bindOptions.propagation': ['shared', 'replaces'],
  'taskTemplate.container.mounts.bindOptions.nonRecursive': [undefined, 'replaces'],
  'taskTemplate.container.mounts.bindOptions.createMountpoint': [undefined, 'replaces'],
  'taskTemplate.container.mounts.bindOptions.readOnlyNonRecursive': [undefined, 'replaces'],
  'taskTemplate.container.mounts.bindOptions.readOnlyForceRecursive': [undefined, 'replaces'],
  'taskTemplate.container.mounts.volumeOptions.noCopy': [undefined, 'replaces'],
  'taskTemplate.container.mounts.volumeOptions.labels': [{ a: 'c' }, 'replaces'],
  'taskTemplate.container.mounts.volumeOptions.subpath': ['b', 'replaces'],
  'taskTemplate.container.mounts.volumeOptions.driverConfig.name': ['b', 'replaces'],
  'taskTemplate.container.mounts.volumeOptions.driverConfig.options': [{ a: 'c' }, 'replaces'],
  'taskTemplate.container.mounts.tmpfsOptions.sizeBytes': [2, 'replaces'],
  'taskTemplate.container.mounts.tmpfsOptions.mode': [2, 'replaces'],
  'taskTemplate.container.mounts.tmpfsOptions.options': [[['b']], 'replaces'],
  'taskTemplate.container.stopGracePeriodNs': [2, 'replaces'],
  'taskTemplate.container.healthcheck.test': [['NONE'], 'replaces'],
  'taskTemplate.container.healthcheck.intervalNs': [2, 'replaces'],
  'taskTemplate.container.healthcheck.timeoutNs': [2, 'replaces'],
  'taskTemplate.container.healthcheck.startPeriodNs': [2, 'replaces'],
  'taskTemplate.container.healthcheck.startIntervalNs': [2, 'replaces'],
  'taskTemplate.container.healthcheck.retries': [2, 'replaces'],
  'taskTemplate.container.hosts': [['1.1.1.1 b'], 'replaces'],
  'taskTemplate.container.dnsConfig.nameservers': [['2.2.2.2'], 'replaces'],
  'taskTemplate.container.dnsConfig.search': [['b'], 'replaces'],
  'taskTemplate.container.dnsConfig.options': [['b'], 'replaces'],
  'taskTemplate.container.sysctls': [{ a: 'c' }, 'replaces'],
  'taskTemplate.container.capabilityAdd': [['CAP_B'], 'replaces'],
  'taskTemplate.container.capabilityDrop': [['CAP_B'], 'replaces'],
  'taskTemplate.container.ulimits.name': ['b', 'replaces'],
  'taskTemplate.container.ulimits.soft': [2, 'replaces'],
  'taskTemplate.container.ulimits.hard': [2, 'replaces'],
  'taskTemplate.container.oomScoreAdj': [2, 'replaces'],
  'taskTemplate.container.secrets.id': ['b', 'replaces'],
  'taskTemplate.container.secrets.name': ['b', 'replaces'],
  'taskTemplate.container.secrets.file.name': ['b', 'replaces'],
  'taskTemplate.container.secrets.file.uid': ['2', 'replaces'],
  'taskTemplate.container.secrets.file.gid': ['2', 'replaces'],
  'taskTemplate.container.secrets.file.mode': [0o444, 'replaces'],
  'taskTemplate.container.configs.id': ['b', 'replaces'],
  'taskTemplate.container.configs.name': ['b', 'replaces'],
  'taskTemplate.container.configs.file.name': ['b', 'replaces'],
  'taskTemplate.container.configs.file.uid': ['2', 'replaces'],
  'taskTemplate.container.configs.file.gid': ['2', 'replaces'],
  'taskTemplate.container.configs.file.mode': [0o444, 'replaces'],
  // What runs has been pulled.
  'taskTemplate.container.registryAuth': ['b', 'keeps'],
  'taskTemplate.resources.limits.nanoCpus': [2, 'replaces'],
  'taskTemplate.resources.limits.memoryBytes': [2, 'replaces'],
  'taskTemplate.resources.limits.pids': [2, 'replaces'],
  'taskTemplate.resources.reservations.nanoCpus': [2, 'replaces'],
  'taskTemplate.resources.reservations.memoryBytes': [2, 'replaces'],
  'taskTemplate.resources.reservations.genericResources.kind': ['fpga', 'replaces'],
  'taskTemplate.resources.reservations.genericResources.count': [2, 'replaces'],
  'taskTemplate.restartPolicy.condition': ['none', 'replaces'],
  'taskTemplate.restartPolicy.delayNs': [2, 'replaces'],
  'taskTemplate.restartPolicy.maxAttempts': [2, 'replaces'],
  'taskTemplate.restartPolicy.windowNs': [2, 'replaces'],
  'taskTemplate.placement.constraints': [['node.role==manager'], 'moves'],
  'taskTemplate.placement.preferences.spreadDescriptor': ['node.labels.b', 'keeps'],
  'taskTemplate.placement.maxReplicas': [2, 'keeps'],
  'taskTemplate.placement.platforms.architecture': ['arm64', 'keeps'],
  'taskTemplate.placement.platforms.os': ['windows', 'keeps'],
  'taskTemplate.networks.target': ['net2', 'replaces'],
  'taskTemplate.networks.aliases': [['b'], 'replaces'],
  'taskTemplate.networks.driverOpts': [{ a: 'c' }, 'replaces'],
  'taskTemplate.logDriver.name': ['b', 'replaces'],
  'taskTemplate.logDriver.options': [{ a: 'c' }, 'replaces'],
  'taskTemplate.forceUpdate': [1, 'replaces'],
};

/** A copy with one field changed; one set to undefined is left out. */
function changed<T>(value: T, path: readonly string[], to: unknown): T {
  const [key, ...rest] = path;
  if (key === undefined) return to as T;
  if (Array.isArray(value))
    return value.map((each: unknown, at) => (at === 0 ? changed(each, path, to) : each)) as T;
  const { [key]: inner, ...others } = value as Record<string, unknown>;
  expect(inner, `${key} is set in the base`).toBeDefined();
  const next = changed(inner, rest, to);
  return { ...others, ...(next === undefined ? {} : { [key]: next }) } as T;
}

const throughApi = (spec: ServiceSpec): ServiceSpec =>
  decodeAs(codec, parseJson(JSON.stringify(codec.encode(spec, 47)), whole), 47);
const whole = { truncated: 'unexpected EOF' as const, allowTrailing: false };

/** Whether an update to this spec replaces the one task of a service of the base. */
async function replaces(spec: ServiceSpec): Promise<boolean> {
  const stage = await Stage.of({ node: [node('n1'), node('n2')], service: [service('web', base)] });
  await stage.settle();
  await stage.perform();
  const [before] = stage.tasks();
  await stage.update(spec);
  const isUpdating = stage.service().updateStatus !== undefined;
  expect(stage.tasks().some(({ slot, id }) => slot === 1 && id !== before?.id)).toBe(isUpdating);
  return isUpdating;
}

test.each(Object.entries(table).filter(([, [, effect]]) => effect !== 'refused'))(
  'a change of %s',
  async (path, [to, effect]) => {
    const spec = changed(base, path.split('.'), to);
    if (path !== 'taskTemplate.container.registryAuth')
      expect(throughApi(spec), 'as users can say it').not.toEqual(throughApi(base));
    expect(await replaces(spec)).toBe(effect !== 'keeps');
    if (effect === 'moves')
      expect(
        await replaces(changed(base, path.split('.'), ['node.hostname!=n9'])),
        'to what its node is',
      ).toBe(false);
  },
);
