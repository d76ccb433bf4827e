/**
 * The store for one request: what it writes carries the request's trace (docs/adr/0055), whichever handler writes it. Nothing else
 * is written than without, and nothing more often.
 */
import type { TraceId } from '../../model/trace.js';
import type { Ids, Kind, NamedKind, Objects, Store, Transaction } from './store.js';

/** Who leads and who is alive is said again and again, and by no request. */
const untraced: ReadonlySet<Kind> = new Set<Kind>(['manager', 'leader']);

export const tracedStore = (store: Store, trace: TraceId): Store => ({
  view: () => store.view(),
  subscribe: (listener) => store.subscribe(listener),
  // The store is its owner's to close.
  close: async () => undefined,
  update: (body) => store.update((tx) => body(tracedTransaction(tx, trace))),
});

function tracedTransaction(tx: Transaction, trace: TraceId): Transaction {
  const traced = <T extends object>(kind: Kind, object: T): T =>
    untraced.has(kind) ? object : { ...object, trace };
  return {
    get revision() {
      return tx.revision;
    },
    nowMs: tx.nowMs,
    get: <K extends Kind>(kind: K, id: Ids[K]) => tx.get(kind, id),
    list: <K extends Kind>(kind: K) => tx.list(kind),
    cluster: () => tx.cluster(),
    tasksOfService: (id) => tx.tasksOfService(id),
    tasksOnNode: (id) => tx.tasksOnNode(id),
    servicesOfTasks: () => tx.servicesOfTasks(),
    waitingTasks: () => tx.waitingTasks(),
    byName: <K extends NamedKind>(kind: K, name: string) => tx.byName(kind, name),
    create: <K extends Kind>(kind: K, object: Omit<Objects[K], 'version' | 'createdAtMs' | 'updatedAtMs'>) =>
      tx.create(kind, traced(kind, object)),
    update: <K extends Kind>(kind: K, object: Objects[K]) => tx.update(kind, traced(kind, object)),
    delete: (kind, id) => tx.delete(kind, id),
    dependOnAll: (kind) => tx.dependOnAll(kind),
  };
}
