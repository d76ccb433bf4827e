/**
 * Ports that the host's kernel gives to no program by chance (net.ipv4.ip_local_reserved_ports). One list for all protocols and
 * for everybody: what of it is ours is remembered elsewhere, so that what others have reserved stays.
 */
import type { Op } from '../plan/diff.js';
import type { ReservedPort } from '../plan/objects.js';
import { KernelError } from './kernel-error.js';
import { readSysctl, writeSysctl } from './sysctls.js';

const path = 'net/ipv4/ip_local_reserved_ports';

/** What of the list is ours, by {@link keyOf}; outlives this process and ends with the boot. */
export interface Reservations {
  /** What we want reserved. */
  readonly wanted: readonly string[];
  /** Ports that nobody had reserved before. */
  readonly added: readonly number[];
}
export const noReservations: Reservations = { wanted: [], added: [] };

export interface ReservationsRecord {
  readonly current: Reservations;
  /** Resolves when it is kept. */
  save(reservations: Reservations): Promise<void>;
}

/** Kept as long as this process. */
export const unkeptReservations = (): ReservationsRecord => {
  let current = noReservations;
  return {
    get current() {
      return current;
    },
    save: async (next) => void (current = next),
  };
};

const protocols = ['tcp', 'udp', 'sctp'] as const;
const keyOf = ({ protocol, port }: Pick<ReservedPort, 'protocol' | 'port'>): string => `${protocol}/${port}`;

export class ReservedPorts {
  /** As last read or written. */
  #held: string | null = null;

  constructor(
    private readonly netns: string | null,
    private readonly record: ReservationsRecord,
  ) {}

  /** Those of ours that are in the list. Throws KernelError. */
  observe(): ReservedPort[] {
    const held = this.#read();
    return this.record.current.wanted.flatMap((key): ReservedPort[] => {
      const [name, port] = key.split('/');
      const protocol = protocols.find((one) => one === name);
      return protocol !== undefined && held.has(Number(port))
        ? [{ kind: 'reservedPort', protocol, port: Number(port) }]
        : [];
    });
  }

  /** Reads again what was observed; true where somebody else has changed it. Throws KernelError. */
  refresh(): boolean {
    const before = this.#held;
    if (before === null) return false;
    this.#read();
    return this.#held !== before;
  }

  /** Rejects with KernelError, or as the record does. What is said to be ours is always at least what is. */
  async apply(ops: readonly (Op & { readonly object: ReservedPort })[]): Promise<void> {
    const held = this.#read();
    const wanted = new Set(this.record.current.wanted);
    const added = new Set(this.record.current.added);
    const removed: number[] = [];
    for (const { op, object } of ops) {
      const { port } = object;
      if (op !== 'delete') {
        wanted.add(keyOf(object));
        if (!held.has(port)) added.add(port);
        held.add(port);
        continue;
      }
      wanted.delete(keyOf(object));
      if (protocols.some((protocol) => wanted.has(keyOf({ protocol, port }))) || !added.delete(port))
        continue;
      held.delete(port);
      removed.push(port);
    }
    await this.record.save({ wanted: [...wanted], added: [...added, ...removed] });
    const text = formatPorts(held);
    writeSysctl(this.netns, path, text);
    this.#held = text;
    if (removed.length > 0) await this.record.save({ wanted: [...wanted], added: [...added] });
  }

  #read(): Set<number> {
    const text = readSysctl(this.netns, path);
    if (text === null) throw new KernelError(`read sysctl ${path}`, 'ENOENT');
    this.#held = text;
    return parsePorts(text);
  }
}

/** `53,8080-8090` */
export function parsePorts(text: string): Set<number> {
  const ports = new Set<number>();
  for (const range of text.split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    if (range === '' || first === undefined || last === undefined) continue;
    for (let port = first; port <= last; port++) ports.add(port);
  }
  return ports;
}

/** As the kernel prints it: in order, neighbours as a range. */
export function formatPorts(ports: ReadonlySet<number>): string {
  const ranges: [first: number, last: number][] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const range = ranges.at(-1);
    if (range && range[1] === port - 1) range[1] = port;
    else ranges.push([port, port]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}
