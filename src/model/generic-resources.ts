/**
 * Generic resources: what a node's engine has beside CPU and memory (`--node-generic-resource`), named one by one
 * (`gpu=UUID1`) or as a number (`ssd=3`). Services reserve numbers of a kind; a task is given names or a number of them,
 * which are its own until it has ended.
 */
import { SkepError } from './errors.js';

/** One of its kind, by name. */
export interface NamedResource {
  readonly kind: string;
  readonly name: string;
}
/** So many of a kind. */
export interface DiscreteResource {
  readonly kind: string;
  readonly count: number;
}
export type GenericResource = NamedResource | DiscreteResource;

export const isNamed = (resource: GenericResource): resource is NamedResource => 'name' in resource;

/** What is left of `resources` without `taken`. A number may fall below zero: a node can have less than it had. */
export const withoutResources = (
  resources: readonly GenericResource[],
  taken: readonly GenericResource[],
): readonly GenericResource[] =>
  resources.flatMap((resource): readonly GenericResource[] => {
    const ofKind = taken.filter(({ kind }) => kind === resource.kind);
    if (isNamed(resource))
      return ofKind.some((one) => isNamed(one) && one.name === resource.name) ? [] : [resource];
    const count = ofKind.reduce((sum, one) => (isNamed(one) ? sum : sum + one.count), 0);
    return [{ ...resource, count: resource.count - count }];
  });

/** Takes of `free` what is reserved: names in their order there, else a number. Undefined: there is not enough. */
export function claimResources(
  free: readonly GenericResource[],
  reserved: readonly DiscreteResource[],
): readonly GenericResource[] | undefined {
  const claimed: GenericResource[] = [];
  for (const { kind, count } of reserved) {
    if (count <= 0) continue;
    const ofKind = withoutResources(free, claimed).filter((one) => one.kind === kind);
    const counted = ofKind.find((one) => !isNamed(one) && one.count >= count);
    const named = ofKind.filter(isNamed);
    if (counted) claimed.push({ kind, count });
    else if (named.length >= count) claimed.push(...named.slice(0, count));
    else return undefined;
  }
  return claimed;
}

/** Whether all of `claimed` is there. */
export const holdsResources = (
  resources: readonly GenericResource[],
  claimed: readonly GenericResource[],
): boolean =>
  claimed.every((one) =>
    resources.some((there) =>
      isNamed(one)
        ? isNamed(there) && there.kind === one.kind && there.name === one.name
        : !isNamed(there) && there.kind === one.kind && there.count >= one.count,
    ),
  );

/** A container's environment: `DOCKER_RESOURCE_GPU=UUID1,UUID2`, Swarm's. */
export function resourceEnvironment(claimed: readonly GenericResource[]): readonly string[] {
  const values = new Map<string, string[]>();
  for (const one of claimed) {
    const key = `DOCKER_RESOURCE_${one.kind.toUpperCase()}`;
    const value = isNamed(one) ? one.name : String(one.count);
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return [...values].map(([key, all]) => `${key}=${all.join(',')}`);
}

/** As a node's description holds them: nothing where there is nothing. */
export const someResources = (
  genericResources: readonly GenericResource[],
): { readonly genericResources?: readonly GenericResource[] } =>
  genericResources.length === 0 ? {} : { genericResources };

/** How many a node tells of. */
export const genericResourcesMax = 1024;

/** As a node sends them; throws `invalidArgument` for what is none. */
export function parseGenericResources(
  sent: readonly { readonly kind: string; readonly name?: string; readonly count?: number }[],
): readonly GenericResource[] {
  if (sent.length > genericResourcesMax)
    throw new SkepError(
      'invalidArgument',
      `more than ${genericResourcesMax} resources in a node’s description`,
    );
  return sent.map(({ kind, name, count }) => {
    if (name !== undefined) return { kind, name };
    if (count === undefined || !Number.isSafeInteger(count) || count < 0)
      throw new SkepError('invalidArgument', `a resource of neither name nor number in a node’s description`);
    return { kind, count };
  });
}
