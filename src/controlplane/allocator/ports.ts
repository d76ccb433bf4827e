/**
 * Published ports of the routing mesh: unique in the cluster per protocol. The API refuses conflicts with a clear text;
 * this is the second lock, for two requests that met.
 */
import type { AllocatedPort } from '../../model/objects.js';
import type { PortConfig } from '../../model/service-spec.js';
import type { SwarmPort } from '../../model/swarm-ports.js';

/** Swarm's range for ports that users leave open. */
export const dynamicPortFirst = 30000;
export const dynamicPortLast = 32767;

/** The ports in use, as `protocol/port`. */
export class PortTable {
  readonly #used = new Set<string>();
  readonly #kept: ReadonlySet<string>;

  /** @param kept never handed out */
  constructor(kept: readonly SwarmPort[] = []) {
    this.#kept = new Set(kept.map(({ protocol, port }) => `${protocol}/${port}`));
  }

  hold(ports: readonly AllocatedPort[]): void {
    for (const port of ports)
      if (port.publishMode === 'ingress') this.#used.add(slot(port, port.publishedPort));
  }

  release(ports: readonly AllocatedPort[]): void {
    for (const port of ports)
      if (port.publishMode === 'ingress') this.#used.delete(slot(port, port.publishedPort));
  }

  /**
   * Ports for `wanted`, or undefined if one of them is taken or none is left. A dynamic port keeps the number it has in
   * `previous` (same name, protocol and target). Holds nothing: the caller does when it writes. Host-mode ports pass
   * through when numbered; without a number the engine of the node chooses, and there is nothing to record here.
   */
  allocate(
    wanted: readonly PortConfig[],
    previous: readonly AllocatedPort[],
  ): readonly AllocatedPort[] | undefined {
    const mine = new Set<string>();
    const fixed = wanted.filter((port) => port.publishMode === 'ingress' && port.publishedPort);
    for (const port of fixed) {
      const taken = slot(port, port.publishedPort ?? 0);
      if (this.#isTaken(taken) || mine.has(taken)) return undefined;
      mine.add(taken);
    }
    const free = (port: PortConfig, number: number): boolean =>
      !this.#isTaken(slot(port, number)) && !mine.has(slot(port, number));
    const open = wanted.filter((port) => port.publishMode === 'ingress' && !port.publishedPort);
    const chosen = new Map<PortConfig, number>();
    // Those that have a number first, so that a new port does not take it from them.
    for (const port of open) {
      const before = previous.find(
        (held) => isSamePort(held, port) && free(port, held.publishedPort),
      )?.publishedPort;
      if (before === undefined) continue;
      mine.add(slot(port, before));
      chosen.set(port, before);
    }
    for (const port of open) {
      if (chosen.has(port)) continue;
      let number = dynamicPortFirst;
      while (number <= dynamicPortLast && !free(port, number)) number++;
      if (number > dynamicPortLast) return undefined;
      mine.add(slot(port, number));
      chosen.set(port, number);
    }
    return wanted.flatMap((port) => {
      const publishedPort = chosen.get(port) ?? (port.publishedPort || undefined);
      return publishedPort === undefined ? [] : [{ ...port, publishedPort }];
    });
  }

  #isTaken(wanted: string): boolean {
    return this.#used.has(wanted) || this.#kept.has(wanted);
  }
}

const isSamePort = (held: AllocatedPort, port: PortConfig): boolean =>
  held.publishMode === 'ingress' &&
  held.name === port.name &&
  held.protocol === port.protocol &&
  held.targetPort === port.targetPort;

const slot = (port: PortConfig, number: number): string => `${port.protocol}/${number}`;
