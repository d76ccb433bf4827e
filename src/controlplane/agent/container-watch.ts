/**
 * What is known of one container, from the start of its process on. It is looked at when an event tells of it, and what a step has
 * seen since the last one is not asked for again: a look costs the engine as much as starting a task costs the rest of the agent.
 */
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import type { ContainerView, Engine } from '../dockerd/client.js';
import type { ContainerEvents } from '../dockerd/events.js';
import type { LegWatch } from './leg-watch.js';
import type { TaskLegs } from './task-legs.js';

/** Longest time without looking at a running container; events come at once, this only bounds a lost one. */
const lookMs = 60_000;

export interface WatchParts {
  readonly engine: Pick<Engine, 'container'>;
  readonly events: Pick<ContainerEvents, 'watch'>;
  readonly legWatch: Pick<LegWatch, 'watch'>;
  readonly clock: Clock;
}

/** Of a container that its task needs, and that is no more. */
export const destroyed = (): SkepError => new SkepError('notFound', 'dockerexec: container destroyed');

export class ContainerWatch implements Disposable {
  readonly #subscriptions: readonly Disposable[];
  /** As it was when it was looked at last. */
  #seen: ContainerView | undefined;
  /** Fired by what happens after the last look began. */
  #changed = new Trigger();
  #isStale = true;

  /** Begins before the first look, so that none is needed for what happens in between. */
  constructor(
    readonly containerId: string,
    private readonly legs: Pick<TaskLegs, 'names' | 'confirm'>,
    private readonly parts: WatchParts,
  ) {
    this.#subscriptions = [
      parts.events.watch(containerId, this.forget),
      parts.legWatch.watch(containerId, () => legs.names(), this.forget),
    ];
  }

  /** The container as it was seen last; undefined before the first look. */
  get seen(): ContainerView | undefined {
    return this.#seen;
  }

  /** What was seen is not believed any more, for something was done to the container. */
  readonly forget = (): void => {
    this.#isStale = true;
    this.#changed.fire();
  };

  /** Looks now. Throws when the container is gone. */
  readonly look = async (): Promise<ContainerView> => {
    this.#changed = new Trigger();
    this.#isStale = false;
    try {
      const container = await this.parts.engine.container(this.containerId);
      if (!container) throw destroyed();
      await this.legs.confirm(container);
      return (this.#seen = container);
    } catch (err) {
      this.#isStale = true;
      throw err;
    }
  };

  /** Looks after every event of the container until `holds`. One at a time. Throws when the container is gone or the signal aborts. */
  async until(holds: (container: ContainerView) => boolean, signal: AbortSignal): Promise<ContainerView> {
    for (;;) {
      signal.throwIfAborted();
      const container = this.#seen && !this.#isStale ? this.#seen : await this.look();
      if (holds(container)) return container;
      await this.#changed.wait(lookMs, this.parts.clock, signal);
      if (!signal.aborted) this.#isStale = true;
    }
  }

  [Symbol.dispose](): void {
    for (const subscription of this.#subscriptions) subscription[Symbol.dispose]();
  }
}
