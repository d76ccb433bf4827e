/**
 * Brings the images of tasks to this node (docs/adr/0037), with the credentials that came with the task. As in Swarm a tag is
 * pulled for each task, for it may name another image by now, and what the registry refuses matters only if the image is not here:
 * then no container can be made of it. What is pinned by a digest is pulled once. One call of the engine a task, two for a digest.
 */
import type { ContainerSpec } from '../../model/service-spec.js';
import type { Log } from '../../runtime/log.js';
import type { Engine } from '../dockerd/client.js';
import { EngineError } from '../dockerd/client.js';
import { withTag } from './container-config.js';

export interface TaskImagesOptions {
  readonly engine: Pick<Engine, 'hasImage' | 'pull'>;
  /** Whatever is here is taken, also if its tag may name another image by now: for nodes that reach no registry. */
  readonly preferOffline: boolean;
  readonly log: Log;
}

/** Why an image could not be pulled, in the engine's words; null when it was, or need not be. */
export type PullFailure = string | null;

export class TaskImages {
  constructor(private readonly options: TaskImagesOptions) {}

  /** Throws only when `signal` aborts. */
  async provide(
    { image, registryAuth }: Pick<ContainerSpec, 'image' | 'registryAuth'>,
    signal: AbortSignal,
  ): Promise<PullFailure> {
    const { engine, preferOffline, log } = this.options;
    const reference = withTag(image);
    if ((preferOffline || isImmutable(reference)) && (await engine.hasImage(reference))) return null;
    try {
      await engine.pull(reference, registryAuth, signal);
      return null;
    } catch (err) {
      signal.throwIfAborted();
      log.warn({ image: reference, err }, 'pulling the image failed');
      return err instanceof Error ? err.message : String(err);
    }
  }
}

/**
 * An engine that has no image says nothing of why it could not be pulled. As Swarm's text begins, with the reason after it: who reads
 * `docker service ps` sees that the credentials are missing, and on which registry.
 */
export function withPullFailure(err: unknown, failure: PullFailure): unknown {
  if (failure === null || !(err instanceof EngineError) || err.statusCode !== 404) return err;
  return new EngineError(`${err.message}: ${failure}`, err.statusCode, { cause: err });
}

/** By a digest or an id: always the same image. */
const isImmutable = (reference: string): boolean =>
  reference.includes('@') || /^[0-9a-f]{64}$/.test(reference);
