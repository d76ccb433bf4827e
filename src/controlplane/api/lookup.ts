/**
 * How `{id}` finds an object: exact id, then exact name, then prefix of the id; the first step with any result
 * decides (M:daemon/cluster/helpers.go).
 */
import { SkepError } from '../../model/errors.js';
import { taskName } from '../../model/objects.js';
import type { Node, Service, Task } from '../../model/objects.js';
import type { PayloadKind } from '../../model/payloads.js';
import type { Objects, View } from '../store/store.js';

function find<T extends { readonly id: string }>(
  kind: string,
  objects: readonly T[],
  argument: string,
  nameOf: (object: T) => string | undefined,
): T {
  const steps: ((object: T) => boolean)[] = [
    ({ id }) => id === argument,
    (object) => nameOf(object) === argument,
    ({ id }) => id.startsWith(argument),
  ];
  for (const step of argument === '' ? [] : steps) {
    const found = objects.filter(step);
    if (found.length > 1)
      throw new SkepError(
        'invalidArgument',
        `${kind} ${argument} is ambiguous (${found.length} matches found)`,
      );
    if (found[0]) return found[0];
  }
  throw new SkepError('notFound', `${kind} ${argument} not found`);
}

export const findService = (view: View, argument: string): Service =>
  find('service', view.list('service'), argument, ({ spec }) => spec.name);

/** A node's name is the hostname it reports; two equal ones are ambiguous. */
export const findNode = (view: View, argument: string): Node =>
  find('node', view.list('node'), argument, ({ description }) => description?.hostname);

export const findTask = (view: View, argument: string): Task =>
  find('task', view.list('task'), argument, (task) => taskName(task));

export const findPayload = <K extends PayloadKind>(view: View, kind: K, argument: string): Objects[K] =>
  find<Objects[PayloadKind]>(kind, view.list(kind), argument, ({ spec }) => spec.name) as Objects[K];
