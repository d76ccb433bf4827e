/**
 * What may be asked of balancing. The same words mean the same in every balancer engine.
 */

/**
 * How a new flow finds its task: in turn (`rr`), in turn by weight (`wrr`), the fewest flows (`lc`), or by the client's
 * address over a Maglev table (`mh`), which keeps a client's choice when others come and go. Weights count for `wrr`
 * and `mh`.
 */
export const schedulers = ['rr', 'wrr', 'lc', 'mh'] as const;
export type Scheduler = (typeof schedulers)[number];
export const defaultScheduler: Scheduler = 'rr';

/** A day: the balancer holds an entry for each client meanwhile. */
export const affinitySMax = 86_400;

/** A table of turns by weight needs up to this many slots for each real server. */
export const weightMax = 1000;
export const defaultWeight = 1;
