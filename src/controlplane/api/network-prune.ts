/** `POST /networks/prune`: the engine's unused networks and the swarm's. */
import type { Handler } from './context.js';
import { Filters, parseFilters } from './filters.js';
import { userOfNetwork } from './network-use.js';

/** The swarm's unused networks go as well, ingress excepted; those in use are passed over in silence. */
export const pruneNetworks: Handler = async (context, request) => {
  const filters = parseFilters(request, { keys: ['label', 'label!', 'until'] });
  const answer = await context.engine.call(
    'POST',
    request.http.url ?? '/networks/prune',
    undefined,
    request.signal,
  );
  const local =
    answer.status === 200
      ? (JSON.parse(answer.body.toString('utf8')) as { NetworksDeleted?: readonly string[] | null })
      : undefined;
  if (!local) {
    request.reply.writeHead(answer.status, { 'Content-Type': 'application/json' });
    request.reply.end(answer.body);
    return;
  }
  const until = untilMs(filters, context.clock.nowMs());
  const { store } = context.control.membership();
  const removed =
    (await store?.update((tx) => {
      tx.dependOnAll('service');
      const idle = tx
        .list('network')
        .filter(
          (network) =>
            !network.spec.ingress &&
            filters.labels('label', network.spec.labels) &&
            !filters
              .get('label!')
              .some((label) =>
                new Filters(new Map([['label', [label]]])).labels('label', network.spec.labels),
              ) &&
            network.createdAtMs <= until &&
            userOfNetwork(tx, network) === undefined,
        )
        // As many as one transaction is sure to take; what is left goes with the next prune.
        .slice(0, 100);
      for (const { id } of idle) tx.delete('network', id);
      return idle.map(({ spec }) => spec.name);
    })) ?? [];
  // The engine removes an instance that no container uses at the moment; the overlay is not gone with it.
  const names = [...(local.NetworksDeleted ?? []), ...removed];
  request.json(200, { NetworksDeleted: names.length > 0 ? [...new Set(names)] : null });
};

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `until`: a unix time, an RFC 3339 time, or a duration back from now; the engine has refused what is none. */
function untilMs(filters: Filters, nowMs: number): number {
  const [until] = filters.get('until');
  if (until === undefined) return Infinity;
  if (/^\d+(\.\d+)?$/.test(until)) return Number(until) * 1000;
  const parts = [...until.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length > 0 && parts.map(([part]) => part).join('') === until)
    return (
      nowMs - parts.reduce((sum, [, count, unit]) => sum + Number(count) * (unitsMs[unit ?? ''] ?? 0), 0)
    );
  const date = Date.parse(until);
  return Number.isNaN(date) ? -Infinity : date;
}
