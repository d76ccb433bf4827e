/**
 * The placeholders of a task's spec (semantics 14.1): Go's text/template, expanded in the values of env, sources and targets of
 * mounts, labels and driver options of volumes, and the hostname. On a manager with a node and a task that are nobody's, so that
 * what cannot be expanded is refused before anything is made; on the agent with the true ones.
 */
import { SkepError } from '../../model/errors.js';
import type { NodeId, TaskId } from '../../model/ids.js';
import type { NodeDescription, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import type { ContainerSpec, Labels, Mount, ServiceSpec } from '../../model/service-spec.js';
import { expand } from './expand.js';
import type { Value } from './values.js';
import { Struct } from './values.js';

export type TemplateNode = { readonly id: string } & Pick<NodeDescription, 'hostname' | 'platform'>;

const struct = (typeName: string, fields: Readonly<Record<string, Value>>): Struct =>
  new Struct(typeName, new Map(Object.entries(fields)));

type NamedTask = Pick<Task, 'id' | 'serviceId' | 'serviceName' | 'serviceLabels' | 'slot' | 'nodeId'>;

/** What placeholders can name. */
export const templateContext = (task: NamedTask, node: TemplateNode): Value =>
  struct('*template.Context', {
    Service: struct('struct { ID string; Name string; Labels map[string]string }', {
      ID: task.serviceId,
      Name: task.serviceName,
      Labels: new Map(Object.entries(task.serviceLabels)),
    }),
    Node: struct('struct { ID string; Hostname string; Platform template.Platform }', {
      ID: node.id,
      Hostname: node.hostname,
      Platform: struct('template.Platform', {
        Architecture: node.platform.architecture,
        OS: node.platform.os,
      }),
    }),
    Task: struct('struct { ID string; Name string; Slot string }', {
      ID: task.id,
      Name: taskName(task),
      Slot: task.slot ? String(task.slot) : node.id,
    }),
  });

/** The container of a service as some task's would be; refuses as {@link expandContainer} does. */
export function expandForNobody({ labels, taskTemplate }: ServiceSpec): ContainerSpec {
  // Swarm's names for what does not exist yet, but with the labels that there are.
  const nobody: NamedTask = {
    id: 'taskid' as TaskId,
    serviceId: 'serviceid' as Task['serviceId'],
    serviceName: 'servicename',
    serviceLabels: labels,
    slot: 1,
    nodeId: 'nodeid' as NodeId,
  };
  const platform = { architecture: 'architecture', os: 'os' };
  return expandContainer(
    taskTemplate.container,
    templateContext(nobody, { id: 'nodeid', hostname: 'nodeHostname', platform }),
  );
}

/** The spec with everything expanded; refuses with Swarm's `expanding … failed: …`. */
export function expandContainer(spec: ContainerSpec, context: Value): ContainerSpec {
  const env = within('env failed', () => spec.env.map((entry) => expandEnv(entry, context)));
  const mounts = within('mounts failed', () => spec.mounts.map((mount) => expandMount(mount, context)));
  const { hostname } = spec;
  if (hostname === undefined) return { ...spec, env, mounts };
  return { ...spec, env, mounts, hostname: within('hostname failed', () => expand(hostname, context)) };
}

function expandEnv(entry: string, context: Value): string {
  const at = entry.indexOf('=');
  if (at < 0) return entry;
  const value = within(`env ${JSON.stringify(entry)}`, () => expand(entry.slice(at + 1), context));
  return `${entry.slice(0, at)}=${value}`;
}

function expandMount(mount: Mount, context: Value): Mount {
  const { volumeOptions } = mount;
  const source = within(`mount source ${JSON.stringify(mount.source)}`, () => expand(mount.source, context));
  const target = within(`mount target ${JSON.stringify(mount.target)}`, () => expand(mount.target, context));
  if (!volumeOptions) return { ...mount, source, target };
  const { labels, driverConfig } = volumeOptions;
  return {
    ...mount,
    source,
    target,
    volumeOptions: {
      ...volumeOptions,
      ...(labels && { labels: within('volume labels', () => expandMap(labels, context)) }),
      ...(driverConfig && {
        driverConfig: {
          ...driverConfig,
          options: within('volume driver config', () => expandMap(driverConfig.options, context)),
        },
      }),
    },
  };
}

const expandMap = (values: Labels, context: Value): Labels =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key,
      within(`map entry ${JSON.stringify(key)}=${JSON.stringify(value)}`, () => expand(value, context)),
    ]),
  );

function within<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (err) {
    throw new SkepError('invalidArgument', `expanding ${what}: ${(err as Error).message}`);
  }
}
