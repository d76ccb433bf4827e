/**
 * The certificate authority's door: open without a client certificate, so everything here is checked against the
 * token (in constant time) or, for a renewal, against the certificate and the store. The role is the token's
 * doing alone; a renewal gets the role the node has now.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { ClusterId, NodeId, RandomSource } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Cluster, Node, NodeRole } from '../../model/objects.js';
import type { Log } from '../../runtime/log.js';
import type { IssueReply, IssueRequest } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import type { Caller } from './caller.js';
import { authorize } from './caller.js';

/** Signs a node's CSR with the cluster's root; refuses a malformed one with `invalidArgument`. */
export type IssueCertificate = (request: {
  readonly cluster: Cluster;
  readonly csrPem: string;
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  readonly clusterId: ClusterId;
  readonly address?: string;
}) => Promise<string> | string;

export interface NodeCaOptions {
  readonly store: Store;
  readonly random: RandomSource;
  readonly issueCertificate: IssueCertificate;
  readonly log: Log;
}

const availabilities = ['active', 'pause', 'drain'] as const;

export class NodeCa {
  constructor(private readonly options: NodeCaOptions) {}

  rootCaCertificate(): string {
    return this.options.store.view().cluster().rootCa.certPem;
  }

  /** A first certificate for whoever has a token, or a new one for a node that has one. */
  async issue(request: IssueRequest, caller: Caller | undefined): Promise<IssueReply> {
    if (request.address !== '' && isIP(request.address) === 0)
      throw new SkepError('invalidArgument', `invalid address: "${request.address}"`);
    if (request.token === '' && caller) return this.#renew(request, caller);
    const { store, random, log } = this.options;
    const role = roleOfToken(store.view().cluster(), request.token);
    const availability = availabilities.find((known) => known === (request.availability || 'active'));
    if (!availability)
      throw new SkepError('invalidArgument', `invalid availability: "${request.availability}"`);
    const nodeId = newId<NodeId>(random);
    // Signed first: a bad request must leave no node behind.
    const certificatePem = await this.#sign(request, nodeId, role);
    await store.update((tx) => {
      roleOfToken(tx.cluster(), request.token); // rotated meanwhile
      tx.create('node', newNode(nodeId, role, availability));
    });
    log.info({ node: nodeId, role }, 'node admitted');
    return { nodeId, role, certificatePem };
  }

  async #renew(request: IssueRequest, caller: Caller): Promise<IssueReply> {
    const node = authorize(caller, this.options.store.view());
    const certificatePem = await this.#sign(request, node.id, node.role);
    this.options.log.info({ node: node.id, role: node.role }, 'certificate renewed');
    return { nodeId: node.id, role: node.role, certificatePem };
  }

  async #sign({ csrPem, address }: IssueRequest, nodeId: NodeId, role: NodeRole): Promise<string> {
    const cluster = this.options.store.view().cluster();
    const named = address === '' ? {} : { address };
    return this.options.issueCertificate({ cluster, csrPem, nodeId, role, clusterId: cluster.id, ...named });
  }
}

/** The role a token admits to; compares both tokens in full whichever matches. */
export function roleOfToken({ joinTokens }: Pick<Cluster, 'joinTokens'>, token: string): NodeRole {
  const isManager = sameSecret(token, joinTokens.manager);
  const isWorker = sameSecret(token, joinTokens.worker);
  if (isManager) return 'manager';
  if (isWorker) return 'worker';
  throw new SkepError('invalidArgument', 'A valid join token is necessary to join this cluster');
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
/** Hashed first, so that neither content nor length shows in the time it takes. */
const sameSecret = (a: string, b: string): boolean => timingSafeEqual(sha256(a), sha256(b));

/** A node that has a certificate and has not registered yet. */
export const newNode = (
  id: NodeId,
  role: NodeRole,
  availability: Node['spec']['availability'],
): Omit<Node, 'version' | 'createdAtMs' | 'updatedAtMs'> => ({
  id,
  spec: { name: '', labels: {}, role, availability },
  role,
  status: { state: 'unknown', message: '', addr: '' },
  attachments: [],
});
