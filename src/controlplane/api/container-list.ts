/**
 * `GET /containers/json`: the engine's, but for the filter `is-task`. An engine calls a container a task's when its own Swarm mode made
 * it; those that Skep makes are told by their label.
 */
import type { Handler } from './context.js';
import { Filters, parseFilters } from './filters.js';
import { passThrough } from '../dockerd/passthrough.js';
import { parseBool } from './request.js';
import type { ApiRequest } from './request.js';

const taskLabel = 'com.docker.swarm.task.id';

interface ListedContainer {
  readonly Labels?: Readonly<Record<string, string>> | null;
}

export const listContainers: Handler = async (context, request) => {
  const isTask = wanted(request);
  if (isTask === undefined) return passThrough(context.engine.socketPath, request.http, request.reply);
  const answer = await context.engine.call('GET', withoutFilter(request), undefined, request.signal);
  if (answer.status !== 200) {
    request.reply.writeHead(answer.status, { 'Content-Type': 'application/json' }).end(answer.body);
    return;
  }
  const containers = JSON.parse(answer.body.toString('utf8')) as readonly ListedContainer[];
  request.json(
    200,
    containers.filter(({ Labels }) => Object.hasOwn(Labels ?? {}, taskLabel) === isTask),
  );
};

/** What the filter asks for; undefined where there is none, or none that can be met: the engine has words for that. */
function wanted(request: ApiRequest): boolean | undefined {
  if (!(request.query.get('filters') ?? '').includes('is-task')) return undefined;
  try {
    const values = new Set(parseFilters(request, {}).get('is-task').map(parseBool));
    return values.size === 1 ? [...values][0] : undefined;
  } catch {
    return undefined;
  }
}

function withoutFilter(request: ApiRequest): string {
  const others = [...parseFilters(request, {}).entries()].filter(([key]) => key !== 'is-task');
  const query = new URLSearchParams(request.query);
  query.set('filters', new Filters(new Map(others)).toString());
  return `${(request.http.url ?? '').replace(/\?.*$/, '')}?${query}`;
}
