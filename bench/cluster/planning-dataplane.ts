/**
 * A node's dataplane without a kernel: it holds the state that the agent hands over and plans what has to be done for the next
 * one, by the product's planners and from the part that differs, as skep-dataplane does. Nothing is programmed.
 */
import type { Dataplane } from '../../src/controlplane/agent/node-network.js';
import type { Op } from '../../src/dataplane/plan/diff.js';
import { ipvsPlan } from '../../src/dataplane/plan/ipvs.js';
import { partialChange } from '../../src/dataplane/plan/part.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { allOf, opsBetween } from '../program/processes.js';

/** Told what was planned for, and the operations that lead there from what was planned before. */
export type OnPlanned = (state: NodeNetworkState, ops: readonly Op[]) => void;

export class PlanningDataplane implements Dataplane {
  #state: NodeNetworkState | null = null;
  readonly #waiters = new Waiters();

  constructor(private readonly onPlanned: OnPlanned) {}

  /** Resolves once it is planned. */
  async setState(state: NodeNetworkState): Promise<void> {
    const ops = operationsBetween(this.#state, state);
    this.#state = state;
    this.onPlanned(state, ops);
    this.#waiters.check();
  }

  async waitProgrammed({ revision }: { readonly revision: number }, signal: AbortSignal): Promise<void> {
    await this.#waiters.until(() => this.#state !== null && this.#state.revision >= revision, signal);
  }
}

/** @param before null: nothing is planned yet */
export function operationsBetween(before: NodeNetworkState | null, after: NodeNetworkState): readonly Op[] {
  const part = partialChange({ state: before, sandboxes: [] }, { state: after, sandboxes: [] });
  const ops =
    part === null || part.others.size > 0
      ? opsBetween(before, after, ipvsPlan)
      : opsBetween(part.before.state, part.after.state, ipvsPlan);
  return allOf(ops);
}
