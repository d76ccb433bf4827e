/** Clients of a service's published port on every node at once, and what they were answered when. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ManagedLab } from '../../test/support/managed-lab.js';

const python = '/usr/bin/python3';
const program = join(import.meta.dirname, 'probe.py');

/** One request; the client's clock is this machine's. */
export interface Probe {
  /** Milliseconds since the epoch. */
  readonly sentMs: number;
  /** Index of the node it was sent to. */
  readonly node: number;
  /** The container that answered; undefined when none did. */
  readonly answeredBy: string | undefined;
}

/** They go on until the scope ends. */
export class Probes implements AsyncDisposable {
  readonly #child;
  #all: Probe[] = [];

  constructor(lab: ManagedLab, port: number, perSecond: number) {
    const urls = lab.nodes.map((node) => `http://${lab.addressOf(node)}:${port}/`);
    const [command = '', ...args] = lab.clientCommand([python, '-B', program, String(perSecond), ...urls]);
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const [sentMs = '', node = '', by = '-'] = line.split(' ');
      this.#all.push({ sentMs: Number(sentMs), node: Number(node), answeredBy: by === '-' ? undefined : by });
    });
  }

  /** What is known so far, in the order of the answers. */
  get all(): readonly Probe[] {
    return this.#all;
  }

  /** Forgets what there was. */
  clear(): void {
    this.#all = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'close');
    this.#child.stdin.end();
    await ended;
  }
}

/** Milliseconds from the death until the last request was sent that nobody answered; 0 when all were. */
export const lastUnanswered = (probes: readonly Probe[], diedMs: number): number =>
  probes
    .filter(({ sentMs, answeredBy }) => answeredBy === undefined && sentMs >= diedMs)
    .reduce((latest, { sentMs }) => Math.max(latest, sentMs - diedMs), 0);

/**
 * Milliseconds from the moment a task was healthy until every node had sent a request to it; undefined as long as one has not.
 * @param container the begin of its id, as it answers
 */
export function usedByAll(
  probes: readonly Probe[],
  nodes: number,
  container: string,
  healthyMs: number,
): number | undefined {
  const first = new Map<number, number>();
  for (const { sentMs, node, answeredBy } of probes)
    if (answeredBy === container) first.set(node, Math.min(first.get(node) ?? Infinity, sentMs));
  return first.size < nodes ? undefined : Math.max(0, Math.max(...first.values()) - healthyMs);
}
