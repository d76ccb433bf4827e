/**
 * Old versions of secrets and configs (model/payload-versions.ts): deleted when no service has them, nor would by its rollback, and
 * no task that may still run was made with them. All others are their users' to remove.
 */
import type { PayloadKind } from '../../model/payloads.js';
import { payloadKinds } from '../../model/payloads.js';
import { isOldVersion } from '../../model/payload-versions.js';
import type { TaskSpec } from '../../model/service-spec.js';
import { isTerminal } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { Ids, View } from '../store/store.js';

export function planOldVersions(view: View, nowMs: number): Plan {
  const draft = new Draft(view, nowMs);
  const oldOf = <K extends PayloadKind>(kind: K): readonly { readonly kind: K; readonly id: Ids[K] }[] =>
    view.list(kind).flatMap(({ id, spec }) => (isOldVersion(spec) ? [{ kind, id: id as Ids[K] }] : []));
  const old = [...oldOf('secret'), ...oldOf('config')];
  if (old.length === 0) return draft.plan();
  const used = usedPayloads(view);
  for (const { kind, id } of old) if (!used.has(`${kind}/${id}`) && draft.fits(1)) draft.delete(kind, id);
  return draft.plan();
}

function usedPayloads(view: View): ReadonlySet<string> {
  const used = new Set<string>();
  const use = ({ container }: TaskSpec): void => {
    const note = (kind: PayloadKind): void =>
      container[`${kind}s`]?.forEach(({ id }) => used.add(`${kind}/${id}`));
    payloadKinds.forEach(note);
  };
  for (const { spec, previousSpec } of view.list('service')) {
    use(spec.taskTemplate);
    if (previousSpec) use(previousSpec.taskTemplate);
  }
  for (const { spec, status } of view.list('task')) if (!isTerminal(status.state)) use(spec);
  return used;
}
