/**
 * How the API has users' own containers attached to the swarm's networks: what the agent of this node does for it. Here
 * because neither may import the other.
 */

/** The option of a container's endpoint that keeps its network aliases: were they the engine's, it would answer them alone. */
export const aliasesOption = 'skep.aliases';

export interface AttachRequest {
  /** Id or name. */
  readonly network: string;
  /** Empty: there is no container yet; so the name. */
  readonly containerId: string;
  readonly containerName: string;
  readonly aliases: readonly string[];
  /** Empty: any. */
  readonly address: string;
}

/** A place on a network, and what the engine needs to put a container there. */
export interface AttachedNetwork {
  readonly attachmentId: string;
  readonly networkId: string;
  readonly networkName: string;
  readonly address: string;
  /** This node's own address there, where its DNS answers. */
  readonly ownAddress: string;
  /** The engine's id of the network that stands for it on this node. */
  readonly engineNetworkId: string;
}

export interface AttachControl {
  /**
   * Takes an address and makes sure that the network stands in this node's engine. Until {@link settle} is told, nobody asks
   * where the container is. Throws the managers' refusals as SkepErrors, `deadlineExceeded` after 20 s.
   */
  attach(request: AttachRequest, signal: AbortSignal): Promise<AttachedNetwork>;
  /** True if the managers are known to hold no such place for this node; while that is not known, false. */
  lacks(networkId: string, address: string): boolean;
  /**
   * Containers were made, connected, disconnected or removed: what they hold is compared with what is held for them.
   * `done` are attachments whose container is made now, or never will be. Resolves when that is through, or after two
   * seconds; never rejects.
   */
  settle(done?: readonly string[]): Promise<void>;
}
