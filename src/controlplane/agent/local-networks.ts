/**
 * The node-local networks that stand for the swarm's in the engine: of driver `skep` for overlays, of their own drivers for those
 * that are each node's own. Made when a task or a
 * user's container needs one, removed when nobody here holds it and nothing is attached. Must stay true: what is held is not removed, for
 * the engine itself lets go of a network that only a container not yet started refers to.
 */
import type Docker from 'dockerode';
import { SkepError } from '../../model/errors.js';
import type { NodeNetworkAttachment } from '../../model/objects.js';
import type { Log } from '../../runtime/log.js';
import type { Engine, LocalNetwork } from '../dockerd/client.js';
import { EngineError } from '../dockerd/client.js';
import type { AssignmentItems } from '../rpc/assignment.js';
import { localNetwork, nodeLocalNetwork, overlayIdOption } from './container-config.js';

export class LocalNetworks {
  readonly #holders = new Map<string, Set<string>>();
  /** The last operation on each overlay's network: they run one by one. */
  readonly #busy = new Map<string, Promise<unknown>>();

  constructor(
    private readonly engine: Engine,
    private readonly log: Log,
  ) {}

  /** The task or attachment needs these overlays' networks until {@link release}. */
  hold(taskId: string, overlayIds: readonly string[]): void {
    for (const id of overlayIds) {
      const holders = this.#holders.get(id) ?? new Set();
      this.#holders.set(id, holders.add(taskId));
    }
  }

  /** Removes those of the task's networks that nothing needs any more. */
  async release(taskId: string): Promise<void> {
    const released: string[] = [];
    for (const [id, holders] of this.#holders) {
      if (!holders.delete(taskId)) continue;
      released.push(id);
      if (holders.size === 0) this.#holders.delete(id);
    }
    if (released.length > 0) await this.#removeUnheld((id) => released.includes(id));
  }

  /** Removes everything that no task holds, such as what an earlier agent left. */
  sweep(): Promise<void> {
    return this.#removeUnheld(() => true);
  }

  /** Makes sure that the overlay has its network in the engine, and gives the engine's id of it. */
  ensure(overlay: AssignmentItems['overlay']): Promise<string> {
    return this.#ensure(overlay.id, async () => localNetwork(overlay));
  }

  /** The same for a network of this node's own. Throws `failedPrecondition` where the configuration that it names is not there. */
  ensureOfNode(attachment: NodeNetworkAttachment): Promise<string> {
    return this.#ensure(attachment.networkId, async () => {
      const { configFrom } = attachment.spec;
      const config = configFrom === undefined ? undefined : await this.engine.configNetwork(configFrom);
      if (configFrom !== undefined && !config)
        // libnetwork's words.
        throw new SkepError(
          'failedPrecondition',
          `configuration network ${JSON.stringify(configFrom)} does not exist`,
        );
      return nodeLocalNetwork(attachment, config);
    });
  }

  #ensure(networkId: string, options: () => Promise<Docker.NetworkCreateOptions>): Promise<string> {
    return this.#oneByOne(networkId, async () => {
      const present = await this.#find(networkId);
      if (present) return present.id;
      const wanted = await options();
      try {
        const id = await this.engine.createNetwork(wanted);
        this.log.info({ network: networkId, name: wanted.Name }, 'local network created');
        return id;
      } catch (err) {
        // Somebody else, such as a daemon that this one has replaced, was faster.
        const isTaken = err instanceof EngineError && err.statusCode === 409;
        const found = isTaken ? await this.#find(networkId) : undefined;
        if (!found) throw err;
        return found.id;
      }
    });
  }

  async #removeUnheld(among: (overlayId: string) => boolean): Promise<void> {
    for (const network of await this.#list()) {
      const overlayId = overlayIdOf(network);
      if (!among(overlayId)) continue;
      await this.#oneByOne(overlayId, async () => {
        if (this.#holders.has(overlayId)) return;
        if (await this.engine.removeNetwork(network.id))
          this.log.info({ network: overlayId, name: network.name }, 'local network removed');
      });
    }
  }

  async #find(overlayId: string): Promise<LocalNetwork | undefined> {
    return (await this.#list()).find((network) => overlayIdOf(network) === overlayId);
  }

  #list(): Promise<LocalNetwork[]> {
    return this.engine.listNetworks(overlayIdOption);
  }

  async #oneByOne<T>(overlayId: string, body: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(overlayId) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(body);
    this.#busy.set(overlayId, mine);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(overlayId) === mine) this.#busy.delete(overlayId);
    }
  }
}

const overlayIdOf = ({ labels }: LocalNetwork): string => labels[overlayIdOption] ?? '';
