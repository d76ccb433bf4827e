/**
 * Old versions of secrets and configs (model/payload-versions.ts): deleted when no service has had them for a while, nor would by its
 * rollback, and no task that may still run was made with them. All others are their users' to remove.
 */
import type { PayloadKind } from '../../model/payloads.js';
import { payloadKinds } from '../../model/payloads.js';
import { isOldVersion } from '../../model/payload-versions.js';
import type { TaskSpec } from '../../model/service-spec.js';
import { isTerminal } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Planner } from '../plan.js';
import type { Ids, View } from '../store/store.js';

/**
 * `docker stack rm` lists a stack's configs and secrets, removes its services, and then each of what it has listed: it fails of one
 * that has gone meanwhile. So long is enough for some hundred services.
 */
const unusedMs = 20_000;

/** For one term of office: since when nobody has each is remembered, and not written down. */
export function oldVersionsPlanner(): Planner {
  let unusedSince: ReadonlyMap<string, number> = new Map();
  return (view, nowMs) => {
    const draft = new Draft(view, nowMs);
    const unused = unusedVersions(view);
    unusedSince = new Map(unused.map(({ key }) => [key, unusedSince.get(key) ?? nowMs]));
    for (const { kind, id, key } of unused)
      if (draft.hasPassed(unusedSince.get(key) ?? nowMs, unusedMs) && draft.fits(1)) draft.delete(kind, id);
    return draft.plan();
  };
}

interface Version<K extends PayloadKind = PayloadKind> {
  readonly kind: K;
  readonly id: Ids[K];
  readonly key: string;
}

function unusedVersions(view: View): readonly Version[] {
  const oldOf = <K extends PayloadKind>(kind: K): readonly Version<K>[] =>
    view.list(kind).flatMap(({ id, spec }) => {
      const of = id as Ids[K];
      return isOldVersion(spec) ? [{ kind, id: of, key: keyOf(kind, of) }] : [];
    });
  const old: readonly Version[] = [...oldOf('secret'), ...oldOf('config')];
  if (old.length === 0) return [];
  const used = usedPayloads(view);
  return old.filter(({ key }) => !used.has(key));
}

const keyOf = (kind: PayloadKind, id: string): string => `${kind}/${id}`;

function usedPayloads(view: View): ReadonlySet<string> {
  const used = new Set<string>();
  const use = ({ container }: TaskSpec): void => {
    const note = (kind: PayloadKind): void =>
      container[`${kind}s`]?.forEach(({ id }) => used.add(keyOf(kind, id)));
    payloadKinds.forEach(note);
  };
  for (const { spec, previousSpec } of view.list('service')) {
    use(spec.taskTemplate);
    if (previousSpec) use(previousSpec.taskTemplate);
  }
  for (const { spec, status } of view.list('task')) if (!isTerminal(status.state)) use(spec);
  return used;
}
