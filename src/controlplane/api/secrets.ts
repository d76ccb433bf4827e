/**
 * `/secrets` and `/configs`. They come with their own issue; until then none can exist, so lists are truly empty,
 * lookups truly fail, and only creating one is refused as not implemented.
 */
import { SkepError } from '../../model/errors.js';
import type { Handler } from './context.js';
import { requireStore } from './context.js';
import { parseFilters } from './filters.js';

export type DataKind = 'secret' | 'config';

const filterKeys = { secret: ['id', 'label', 'name', 'names'], config: ['id', 'label', 'name'] } as const;

export const listData =
  (kind: DataKind): Handler =>
  async (context, request) => {
    parseFilters(request, { keys: filterKeys[kind] });
    requireStore(context);
    request.json(200, []);
  };

export const createData =
  (kind: DataKind): Handler =>
  async (context) => {
    requireStore(context);
    throw new SkepError('unimplemented', `${kind}s are not supported yet`);
  };

/** Inspect, update and remove. */
export const missingData =
  (kind: DataKind): Handler =>
  async (context, request) => {
    requireStore(context);
    throw new SkepError('notFound', `${kind} ${request.param(0)} not found`);
  };
