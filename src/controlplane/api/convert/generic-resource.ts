/** Docker's GenericResource: one of its kind by name, or so many of it. Specs ask for numbers only. */
import { controlApiError } from '../../../model/errors.js';
import { isNamed } from '../../../model/generic-resources.js';
import type { DiscreteResource, GenericResource, NamedResource } from '../../../model/generic-resources.js';
import { field, int64, list, opt, ptr, struct, text, via } from './codec.js';
import type { Codec } from './codec.js';

interface Sent {
  readonly named?: NamedResource;
  readonly discrete?: DiscreteResource;
}

const genericResource = struct<Sent>('GenericResource', {
  named: field(
    'NamedResourceSpec',
    ptr(
      struct<NamedResource>('NamedGenericResource', {
        kind: field('Kind', text),
        name: field('Value', text),
      }),
    ),
  ),
  discrete: field(
    'DiscreteResourceSpec',
    ptr(
      struct<DiscreteResource>('DiscreteGenericResource', {
        kind: field('Kind', text),
        count: field('Value', int64),
      }),
    ),
  ),
});

/** Of nodes and tasks: written only. */
export const genericResources: Codec<readonly GenericResource[] | undefined> = opt(
  via<readonly Sent[], readonly GenericResource[]>(
    list(genericResource),
    () => [],
    (resources) => resources.map((one) => (isNamed(one) ? { named: one } : { discrete: one })),
  ),
);

/** Of specs. A name there is refused in swarmkit's words, and so is what could never be claimed. */
export const reservedResources: Codec<readonly DiscreteResource[] | undefined> = opt(
  via<readonly Sent[], readonly DiscreteResource[]>(
    list(genericResource),
    (sent, at) =>
      sent.flatMap(({ discrete, named }) => {
        if (discrete && discrete.count >= 0) return [discrete];
        at.refuse(
          controlApiError(
            'invalidArgument',
            `invalid argument for resource ${(discrete ?? named)?.kind ?? ''}`,
          ),
        );
        return [];
      }),
    (resources) => resources.map((discrete) => ({ discrete })),
  ),
);
