/**
 * Empties chains and looks at them as a stranger, as a process of its own: in the second that they have nobody waits for looks at
 * anything else. Told over IPC which; tells how long they were empty.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Firewall } from '../../src/dataplane/kernel/iptables.js';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import { isErrno } from '../../src/dataplane/netlink/netlink-error.js';
import { Netfilter } from '../../src/dataplane/netlink/netfilter.js';
import type { Chain } from '../../src/dataplane/plan/objects.js';
import { identity, satisfies } from '../../src/dataplane/plan/objects.js';

export type ChainsOrder =
  | {
      readonly flush: number;
      /** Of the namespace. */
      readonly path: string;
      readonly chain: Chain;
      /** When nobody need look any more. */
      readonly givenUpMs: number;
      /** How much less often than on a machine somebody asks where nobody tells. */
      readonly slowness: number;
    }
  /** Nothing is to be kept open there until `back`. */
  | { readonly leave: string }
  | { readonly back: string };

export type ChainsWord =
  | { readonly flushed: number }
  | { readonly failed: number; readonly text: string }
  | { readonly looked: number; readonly ms: number; readonly repaired: boolean }
  | { readonly left: string };

/** Where the kernel does not tell of rules. */
const askMs = 50;

type Flush = Extract<ChainsOrder, { flush: number }>;
interface Look extends Flush {
  readonly atMs: number;
}

interface Opened {
  readonly firewall: Firewall;
  readonly netfilter: Netfilter;
  readonly heard: Disposable;
}

/** One namespace. */
class Place {
  isLeft = false;
  readonly #looks = new Set<Look>();
  #isAsked = false;
  #open: Opened | null = null;

  constructor(private readonly path: string) {}

  /** Rejects with KernelError. */
  async flush(order: Flush): Promise<void> {
    const { chain: was, flush: flushed } = order;
    const { firewall } = (this.#open ??= this.#enter());
    await firewall.apply([{ op: 'change', object: { ...was, rules: [] }, was }]);
    const atMs = Date.now();
    tell({ flushed });
    this.#looks.add({ ...order, atMs });
    this.#isAsked = true;
    wake();
  }

  close(): void {
    this.#open?.heard[Symbol.dispose]();
    this.#open?.netfilter[Symbol.dispose]();
    this.#open = null;
  }

  async look(): Promise<void> {
    if (this.#looks.size === 0 || this.isLeft) return;
    const { firewall } = (this.#open ??= this.#enter());
    const isDue = this.#isAsked || [...this.#looks].some(isGivenUp);
    if (!isDue && !(await firewall.mayHaveChanged('chains'))) return;
    this.#isAsked = false;
    const looks = [...this.#looks];
    const found = await firewall.observe();
    for (const one of looks) {
      const { flush: looked, chain, atMs } = one;
      const ms = Date.now() - atMs;
      const repaired = found.some((some) => identity(some) === identity(chain) && satisfies(some, chain));
      if (!repaired && !isGivenUp(one)) continue;
      this.#looks.delete(one);
      tell({ looked, ms, repaired });
    }
  }

  #enter(): Opened {
    const netfilter = new Netfilter(this.path);
    const firewall = new Firewall(this.path, () => netfilter);
    return { netfilter, firewall, heard: firewall.watch(() => wake()) };
  }
}

const isGivenUp = ({ atMs, givenUpMs }: Look): boolean => Date.now() - atMs >= givenUpMs;
const tell = (word: ChainsWord): void => void process.send?.(word);
const places = new Map<string, Place>();
let slowness = 1;
let wake: () => void = () => undefined;

function placeOf(path: string): Place {
  const place = places.get(path) ?? new Place(path);
  places.set(path, place);
  return place;
}

process.on('message', (message) => {
  const order = message as ChainsOrder;
  if ('leave' in order) {
    const place = placeOf(order.leave);
    place.isLeft = true;
    place.close();
    tell({ left: order.leave });
  } else if ('back' in order) placeOf(order.back).isLeft = false;
  else {
    slowness = order.slowness;
    placeOf(order.path)
      .flush(order)
      .catch((err: unknown) => tell({ failed: order.flush, text: String(err) }));
  }
  wake();
});
// Whoever has started it is gone.
process.once('disconnect', () => process.exit(0));

for (;;) {
  const woken = new Promise<void>((resolve) => (wake = resolve));
  for (const place of places.values()) {
    try {
      await place.look();
    } catch (err) {
      // It is gone, or was while it was read.
      if (!isErrno(err, 'ENOENT', 'EINVAL', 'ECANCELED') && !(err instanceof KernelError)) throw err;
      place.close();
    }
  }
  await Promise.race([woken, sleep(slowness * askMs)]);
}
