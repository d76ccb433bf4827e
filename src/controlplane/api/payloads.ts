/**
 * `/secrets` and `/configs`: create, list, inspect, update of the labels, remove. What a secret holds is written to the store
 * and never read back; what a config holds is shown. Content is replaced for those only who ask for versions of it.
 */
import { timingSafeEqual } from 'node:crypto';
import { SkepError, controlApiError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import type { Config, Secret } from '../../model/objects.js';
import { faultOfName, faultOfPayload } from '../../model/payloads.js';
import type { PayloadKind, PayloadSpec } from '../../model/payloads.js';
import {
  asOldVersion,
  faultOfVersionLabel,
  isVersioned,
  versionLabel,
} from '../../model/payload-versions.js';
import { referencesOf } from '../../model/service-laws.js';
import type { Ids, Objects, Transaction, View } from '../store/store.js';
import type { Handler } from './context.js';
import { requireStore, requireStoreWithRoom } from './context.js';
import type { Codec } from './convert/codec.js';
import { config, configSpec, secret, secretSpec } from './convert/payload.js';
import type { SecretSpecRequest } from './convert/payload.js';
import { parseFilters } from './filters.js';
import { findPayload } from './lookup.js';
import type { ApiRequest } from './request.js';

/** What is done with objects of one kind. */
interface PayloadHandlers {
  readonly list: Handler;
  readonly create: Handler;
  readonly inspect: Handler;
  readonly update: Handler;
  readonly remove: Handler;
}

const refuse = (message: string): never => {
  throw controlApiError('invalidArgument', message);
};

/** The minor version of the API that brought templates. */
const templatingSince = 37;

function handlersOf<K extends PayloadKind>(
  kind: K,
  {
    shown,
    spec: specCodec,
    filterKeys,
  }: {
    readonly shown: Codec<Objects[K]>;
    readonly spec: Codec<SecretSpecRequest>;
    readonly filterKeys: readonly string[];
  },
): PayloadHandlers {
  const find = (view: View, argument: string): Objects[K] => findPayload(view, kind, argument);
  const decode = async (request: ApiRequest): Promise<SecretSpecRequest> => {
    const spec = await request.decode(specCodec);
    if (spec.templating && request.minor < templatingSince)
      throw new SkepError(
        'invalidArgument',
        `${kind} templating is not supported on the specified API version: 1.${request.minor}`,
      );
    return spec;
  };

  return {
    list: async (context, request) => {
      const filters = parseFilters(request, { keys: filterKeys, before: () => requireStore(context) });
      const objects: readonly (Secret | Config)[] = requireStore(context).view().list(kind);
      const found = objects.filter(
        ({ id, spec }) =>
          filters.prefix('id', id) &&
          filters.prefix('name', spec.name) &&
          filters.exact('names', spec.name) &&
          filters.labels('label', spec.labels),
      ) as Objects[K][];
      request.json(
        200,
        found.map((object) => request.shown(shown, object)),
      );
    },

    create: async (context, request) => {
      const { driver, ...spec } = await decode(request);
      const store = requireStoreWithRoom(context);
      const fault = driver ? faultOfName(spec.name) : faultOfPayload(kind, spec);
      if (fault !== undefined) refuse(fault);
      if (driver?.name === '') refuse('secret driver must have a name');
      // Plugins are the engine's, and a plain engine lets nobody ask them for secrets.
      if (driver) throw controlApiError('unknown', `plugin ${JSON.stringify(driver.name)} not found`);
      const misnamed = faultOfVersionLabel(spec);
      if (misnamed !== undefined) refuse(misnamed);
      const id = newId<Ids[K]>(context.random);
      await store.update((tx) => tx.create(kind, { id, spec } as never));
      request.json(201, { ID: id });
    },

    inspect: async (context, request) => {
      request.json(200, request.shown(shown, find(requireStore(context).view(), request.param(0))));
    },

    update: async (context, request) => {
      const { driver: _, ...spec } = await decode(request);
      const version = request.plainVersion(kind);
      const store = isVersioned(spec) ? requireStoreWithRoom(context) : requireStore(context);
      const { id } = find(store.view(), request.param(0)) as Secret | Config;
      await store.update((tx) => {
        const current = known(tx, kind, id as Ids[K], request.param(0));
        const isSame = spec.data === '' || isEqual(spec, current.spec);
        if (spec.name !== current.spec.name || !(isSame || isVersioned(spec)))
          refuse('only updates to Labels are allowed');
        const labelled = spec.labels[versionLabel] !== current.spec.labels[versionLabel];
        const fault =
          (isSame ? undefined : faultOfPayload(kind, spec)) ??
          (labelled ? faultOfVersionLabel(spec) : undefined);
        if (fault !== undefined) refuse(fault);
        if (current.version !== version) throw controlApiError('unknown', 'update out of sequence');
        if (isSame) {
          tx.update(kind, { ...current, spec: { ...current.spec, labels: spec.labels } } as Objects[K]);
          return;
        }
        tx.update(kind, asOldVersion(current) as Objects[K]);
        tx.create(kind, { id: newId<Ids[K]>(context.random), spec } as never);
      });
      request.empty(200);
    },

    remove: async (context, request) => {
      const store = requireStore(context);
      const { id } = find(store.view(), request.param(0)) as Secret | Config;
      await store.update((tx) => {
        const { spec } = known(tx, kind, id as Ids[K], request.param(0));
        // Another manager may be creating one that uses it.
        tx.dependOnAll('service');
        const users = tx
          .list('service')
          .filter((service) => referencesOf(service.spec, kind).some((reference) => reference.id === id))
          .map((service) => service.spec.name);
        if (users.length > 0)
          refuse(
            `${kind} '${spec.name}' is in use by the following service${users.length === 1 ? '' : 's'}: ${users.join(', ')}`,
          );
        tx.delete(kind, id);
      });
      request.empty(204);
    },
  };
}

function known<K extends PayloadKind>(
  tx: Transaction,
  kind: K,
  id: Ids[K],
  argument: string,
): Secret | Config {
  const object = tx.get(kind, id);
  if (!object) throw new SkepError('notFound', `${kind} ${argument} not found`);
  return object;
}

/** Whether both hold the same, by a comparison that takes as long for every answer. */
function isEqual(a: PayloadSpec, b: PayloadSpec): boolean {
  const [one, other] = [Buffer.from(a.data, 'base64'), Buffer.from(b.data, 'base64')];
  return one.length === other.length && timingSafeEqual(one, other);
}

export const secrets = handlersOf('secret', {
  shown: secret,
  spec: secretSpec,
  filterKeys: ['id', 'label', 'name', 'names'],
});

export const configs = handlersOf('config', {
  shown: config,
  spec: configSpec,
  filterKeys: ['id', 'label', 'name'],
});
