/**
 * Reads the balancer's counters for scrapes, as cheaply as they can be had. `ipvs` tells of a thousand virtual servers at once, but of
 * their real servers (and so of flows that are there now) one virtual server at a time: that is read again only when it has paid for itself.
 */
import type { Vni } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import type { BalancerTable, RealServerCounters, VirtualServerTotals } from '../balancer/engine.js';
import { serverKey } from './frontends.js';

export interface CounterReaderOptions {
  /** @param vni null: the host */
  readonly table: (vni: Vni | null) => Promise<Pick<BalancerTable, 'counters' | 'totals'>>;
  readonly clock: Pick<Clock, 'steadyMs'>;
}

/** Totals of now, and what the real servers had when that was read last; null: it was not yet. */
export type ReadServer = VirtualServerTotals & {
  readonly activeFlows: number | null;
  readonly realServers: readonly RealServerCounters[];
};

interface Details {
  readonly byServer: ReadonlyMap<string, Pick<ReadServer, 'activeFlows' | 'realServers'>>;
  /** Not to be read again before. */
  readonly dueMs: number;
}

/** Of one processor's time, what reading the details may take. */
const detailsShare = 1 / 100;

export class CounterReader {
  readonly #details = new Map<Vni | null, Details>();

  constructor(private readonly options: CounterReaderOptions) {}

  /** Of one scope. Rejects with OutsideError. */
  async read(vni: Vni | null): Promise<readonly ReadServer[]> {
    const table = await this.options.table(vni);
    if (!table.totals) return table.counters();
    const details = this.#details.get(vni);
    const { clock } = this.options;
    const begunMs = clock.steadyMs();
    if (details === undefined || begunMs >= details.dueMs) {
      const counted = await table.counters();
      const nowMs = clock.steadyMs();
      this.#details.set(vni, {
        byServer: new Map(counted.map((server) => [serverKey(server.family, server.mark), server])),
        dueMs: nowMs + (nowMs - begunMs) / detailsShare,
      });
      return counted;
    }
    return (await table.totals()).map((server) => {
      const known = details.byServer.get(serverKey(server.family, server.mark));
      return {
        ...server,
        activeFlows: known?.activeFlows ?? null,
        realServers: known?.realServers ?? [],
      };
    });
  }

  /** Forgets what is of no scope among these. */
  keep(scopes: ReadonlySet<Vni | null>): void {
    for (const vni of this.#details.keys()) if (!scopes.has(vni)) this.#details.delete(vni);
  }
}
