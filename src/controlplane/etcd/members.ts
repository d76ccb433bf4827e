/**
 * The members of this etcd, as etcd has them: a learner follows and does not vote until it is promoted. Identifiers are etcd's
 * numbers as text.
 */
import type * as grpc from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { EtcdError, callMsDefault, serviceClient, unary } from './channel.js';
import type { Unary, WireHeader } from './channel.js';

export interface EtcdMember {
  readonly id: string;
  /** The node's id; empty until the member has started. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}

interface WireMember {
  readonly ID: string;
  readonly name: string;
  readonly peerURLs: readonly string[];
  readonly isLearner: boolean;
}
interface WireMembers {
  readonly header: WireHeader;
  readonly members: readonly WireMember[];
}

type ClusterClient = grpc.Client & {
  memberAdd: Unary<WireMembers & { readonly member: WireMember }>;
  memberRemove: Unary<unknown>;
  memberUpdate: Unary<unknown>;
  memberList: Unary<WireMembers>;
  memberPromote: Unary<unknown>;
};

export class EtcdMembers {
  readonly #cluster: ClusterClient;

  /** See EtcdClient. */
  constructor(address: string, credentials?: grpc.ChannelCredentials) {
    this.#cluster = serviceClient('Cluster', address, credentials);
  }

  /** As this member knows them. */
  async list(deadlineMs = callMsDefault): Promise<readonly EtcdMember[]> {
    const { memberList } = this.#cluster;
    const { members } = await unary('member list', deadlineMs, this.#cluster, memberList, {});
    return members.map(fromWire);
  }

  /**
   * Takes in a member that does not vote yet. @returns all there are then
   * @throws EtcdError FAILED_PRECONDITION while there is another learner; UNAVAILABLE while any member is not well, or has not
   *   been for five seconds
   */
  async addLearner(peerUrl: string, deadlineMs = callMsDefault): Promise<readonly EtcdMember[]> {
    const request = { peerURLs: [peerUrl], isLearner: true };
    const { memberAdd } = this.#cluster;
    const { members } = await unary('member add', deadlineMs, this.#cluster, memberAdd, request);
    return members.map(fromWire);
  }

  /** @returns false: it has not caught up with the leader yet */
  async promote(id: string, deadlineMs = callMsDefault): Promise<boolean> {
    try {
      const { memberPromote } = this.#cluster;
      await unary('member promote', deadlineMs, this.#cluster, memberPromote, { ID: id });
      return true;
    } catch (err) {
      if (err instanceof EtcdError && err.code === status.FAILED_PRECONDITION) return false;
      throw err;
    }
  }

  /** A member that is gone is no error. */
  async remove(id: string, deadlineMs = callMsDefault): Promise<void> {
    try {
      const { memberRemove } = this.#cluster;
      await unary('member remove', deadlineMs, this.#cluster, memberRemove, { ID: id });
    } catch (err) {
      if (!(err instanceof EtcdError && err.code === status.NOT_FOUND)) throw err;
    }
  }

  /** The member is reached somewhere else from now on. */
  async move(id: string, peerUrl: string, deadlineMs = callMsDefault): Promise<void> {
    const request = { ID: id, peerURLs: [peerUrl] };
    await unary('member update', deadlineMs, this.#cluster, this.#cluster.memberUpdate, request);
  }

  close(): void {
    this.#cluster.close();
  }
}

const fromWire = ({ ID, name, peerURLs, isLearner }: WireMember): EtcdMember => ({
  id: ID,
  name,
  peerUrls: peerURLs,
  isLearner,
});
