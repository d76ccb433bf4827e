/**
 * The placeholders of a task's spec (semantics 14.1): Go's text/template as far as Docker documents it for services.
 * Expanded in hostname, values of env, sources and targets of mounts, labels and driver options of volumes.
 */
import { SkepError } from '../../model/errors.js';
import type { NodeDescription, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import type { ContainerSpec, Mount } from '../../model/service-spec.js';

export type TemplateNode = { readonly id: string } & Pick<NodeDescription, 'hostname' | 'platform'>;

type Value = string | { readonly [key: string]: Value };

/** What placeholders can name. */
export const templateContext = (task: Task, node: TemplateNode): Value => ({
  Service: { ID: task.serviceId, Name: task.serviceName, Labels: { ...task.serviceLabels } },
  Node: {
    ID: node.id,
    Hostname: node.hostname,
    Platform: { Architecture: node.platform.architecture, OS: node.platform.os },
  },
  Task: { ID: task.id, Name: taskName(task), Slot: String(task.slot || node.id) },
});

/** The spec with everything expanded; refuses with Swarm's `expanding … failed: …`. */
export function expandContainer(spec: ContainerSpec, context: Value): ContainerSpec {
  return {
    ...spec,
    ...(spec.hostname === undefined
      ? {}
      : { hostname: within('hostname', () => expand(spec.hostname ?? '', context)) }),
    env: within('env', () => spec.env.map((entry) => expandEnv(entry, context))),
    mounts: within('mounts', () => spec.mounts.map((mount) => expandMount(mount, context))),
  };
}

function expandEnv(entry: string, context: Value): string {
  const at = entry.indexOf('=');
  return at < 0 ? entry : `${entry.slice(0, at)}=${expand(entry.slice(at + 1), context)}`;
}

function expandMount(mount: Mount, context: Value): Mount {
  const map = (values: Readonly<Record<string, string>>): Record<string, string> =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, expand(value, context)]));
  const { volumeOptions } = mount;
  return {
    ...mount,
    source: expand(mount.source, context),
    target: expand(mount.target, context),
    ...(volumeOptions && {
      volumeOptions: {
        ...volumeOptions,
        ...(volumeOptions.labels && { labels: map(volumeOptions.labels) }),
        ...(volumeOptions.driverConfig && {
          driverConfig: {
            ...volumeOptions.driverConfig,
            options: map(volumeOptions.driverConfig.options),
          },
        }),
      },
    }),
  };
}

function within<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (err) {
    throw new SkepError('invalidArgument', `expanding ${what} failed: ${(err as Error).message}`);
  }
}

/** Expands one text. Throws with the reason. */
export function expand(text: string, context: Value): string {
  return text.replace(
    /(\s*)\{\{(- )?((?:[^"}]|"(?:[^"\\]|\\.)*"|\}(?!\}))*)\}\}(\s*)/g,
    (_, before: string, trimBefore: string | undefined, inner: string, after: string) => {
      const trimAfter = / -$/.test(inner);
      const action = (trimAfter ? inner.slice(0, -2) : inner).trim();
      const value = evaluate(tokenize(action), context);
      if (typeof value !== 'string') throw new Error(`template: {{${action}}} is not a text`);
      return `${trimBefore ? '' : before}${value}${trimAfter ? '' : after}`;
    },
  );
}

function tokenize(action: string): string[] {
  const tokens = action.match(/"(?:[^"\\]|\\.)*"|`[^`]*`|[^\s"`]+/g) ?? [];
  if (tokens.length === 0) throw new Error('template: missing value for command');
  return tokens;
}

function evaluate([head = '', ...operands]: readonly string[], context: Value): Value {
  if (head === 'index') {
    const [of = '', ...keys] = operands;
    // A missing map key of a string map is the empty string in Go.
    return keys.reduce<Value>(
      (value, key) => child(value, text(operand(key, context))) ?? '',
      operand(of, context),
    );
  }
  // Nothing that a placeholder can name is a list, which is what join needs; Docker fails the same way.
  if (head === 'join') throw new Error('template: wrong type for value; expected []string');
  if (operands.length > 0) throw new Error(`template: can't give argument to non-function ${head}`);
  return operand(head, context);
}

function operand(token: string, context: Value): Value {
  if (token.startsWith('"')) return JSON.parse(token) as string;
  if (token.startsWith('`')) return token.slice(1, -1);
  if (!token.startsWith('.')) throw new Error(`template: function "${token}" not defined`);
  return token
    .slice(1)
    .split('.')
    .reduce((value, field) => {
      const found = child(value, field);
      if (found === undefined) throw new Error(`template: can't evaluate field ${field} in ${token}`);
      return found;
    }, context);
}

const child = (value: Value, key: string): Value | undefined =>
  typeof value === 'object' && Object.hasOwn(value, key) ? value[key] : undefined;

function text(value: Value): string {
  if (typeof value !== 'string') throw new Error('template: error calling index: not a text');
  return value;
}
