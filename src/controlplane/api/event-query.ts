/** What `/events` is asked for: the time, in nanoseconds since the epoch, and which events. */
import { Filters, parseFilters } from './filters.js';
import type { ApiRequest } from './request.js';
import type { DockerEvent } from './swarm-events.js';
import { unixNano } from './unix-time.js';

/** Keys that nobody knows and keys without values filter nothing here, unlike in lists. Throws for what is no JSON. */
export const eventFilters = (request: ApiRequest): Filters =>
  new Filters(new Map([...parseFilters(request, {}).entries()].filter(([, values]) => values.length > 0)));

export interface EventRange {
  readonly sinceNano?: bigint;
  readonly untilNano?: bigint;
}

/** The query's `since` and `until`; undefined for what dockerd refuses. */
export function eventRange(query: URLSearchParams): EventRange | undefined {
  const since = unixNano(query.get('since') ?? '');
  const until = unixNano(query.get('until') ?? '');
  if (since === undefined || until === undefined) return undefined;
  if (since !== 'none' && until !== 'none' && until < since) return undefined;
  return {
    ...(since !== 'none' && { sinceNano: since }),
    ...(until !== 'none' && { untilNano: until }),
  };
}

export const isWithin = ({ sinceNano, untilNano }: EventRange, nano: bigint): boolean =>
  (sinceNano === undefined || nano >= sinceNano) && (untilNano === undefined || nano <= untilNano);

/** Filters that name an object: each looks at every event's id and name, whatever its type, as dockerd does. */
const objectFilters = [
  'container',
  'daemon',
  'network',
  'node',
  'plugin',
  'service',
  'secret',
  'config',
  'volume',
];

/** With one of these values the filter `event` goes by prefix: their events carry more behind a colon. */
const openEvents = ['health_status', 'exec_create', 'exec_start'];

/** Whether the client asked for it (M:daemon/events/filter.go). Keys that are not known filter nothing. */
export function wantsEvent(filters: Filters, { Type, Action, Actor, scope }: DockerEvent): boolean {
  const { ID: id, Attributes: attributes } = Actor;
  const events = filters.get('event');
  return (
    filters.exact('type', Type) &&
    filters.exact('scope', scope) &&
    (events.some((value) => openEvents.includes(value))
      ? filters.prefix('event', Action)
      : filters.exact('event', Action)) &&
    objectFilters.every((key) => filters.prefix(key, id) || filters.prefix(key, attributes['name'] ?? '')) &&
    [id, attributes[Type === 'image' ? 'name' : 'image'] ?? ''].some(
      (image) => filters.exact('image', image) || filters.exact('image', withoutTag(image)),
    ) &&
    filters.labels('label', attributes)
  );
}

/** A name as users know it, without tag and digest. */
const withoutTag = (image: string): string =>
  image
    .replace(/@.*$/, '')
    .replace(/:[^:/]*$/, '')
    .replace(/^docker\.io\/(library\/)?/, '');
