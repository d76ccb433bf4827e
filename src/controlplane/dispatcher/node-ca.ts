/**
 * The certificate authority's door: open without a client certificate, so everything here is checked against the
 * token (in constant time) or, for a renewal, against the certificate and the store. The role is the token's
 * doing alone; a renewal gets the role the node has now. A certificate that has expired is good for a renewal and for nothing
 * else, while its node is one of the cluster: the request, signed by the key that it is for, says whose it is.
 */
import { isIP } from 'node:net';
import type { ClusterId, NodeId, RandomSource } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Cluster, ManagersLock, Node, NodeRole } from '../../model/objects.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import type { IssueReply, IssueRequest } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import type { Caller } from './caller.js';
import { trustOf } from '../ca/root-trust.js';
import { sameToken } from '../ca/join-token.js';
import type { IsTrusted } from './caller.js';
import { authorize, memberOf } from './caller.js';

/**
 * Signs a node's CSR for the cluster, and gives the certificate with what goes with it; refuses a malformed one with
 * `invalidArgument`.
 */
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
  readonly isTrusted: IsTrusted;
  /**
   * Who asks with a request for the key of a certificate that a root of the cluster signed once; undefined: it proves nobody.
   */
  readonly shownIdentity: (
    request: Pick<IssueRequest, 'csrPem' | 'certificatePem'>,
    cluster: Cluster,
  ) => Promise<Pick<Caller, 'nodeId' | 'role' | 'clusterId'> | undefined>;
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
    if (request.token === '') {
      const node = await this.#member(request, caller);
      // Nothing secret for who shows a certificate that the connection does not prove.
      return this.#renew(request, node, caller ? this.#lockFor(node.role) : null);
    }
    const { store, random, log } = this.options;
    const role = roleOfToken(store.view().cluster(), request.token);
    const availability = availabilities.find((known) => known === (request.availability || 'active'));
    if (!availability)
      throw new SkepError('invalidArgument', `invalid availability: "${request.availability}"`);
    const nodeId = newId<NodeId>(random);
    // Signed first: a bad request must leave no node behind.
    const issued = await this.#sign(request, nodeId, role);
    await store.update((tx) => {
      roleOfToken(tx.cluster(), request.token); // rotated meanwhile
      tx.create('node', newNode(nodeId, role, availability));
    });
    decide(log, 'node.admitted', { node: nodeId, role });
    return { nodeId, role, ...issued, lock: this.#lockFor(role) };
  }

  /** Whose certificate is to be renewed. */
  async #member(request: IssueRequest, caller: Caller | undefined): Promise<Node> {
    const { store, isTrusted, shownIdentity } = this.options;
    if (caller) return authorize(caller, store.view(), isTrusted);
    if (request.certificatePem === '') throw noToken();
    const shown = await shownIdentity(request, store.view().cluster());
    if (!shown) throw new SkepError('unauthenticated', 'the certificate proves no node of this cluster');
    return memberOf(shown, store.view());
  }

  async #renew(request: IssueRequest, node: Node, lock: ManagersLock | null): Promise<IssueReply> {
    const issued = await this.#sign(request, node.id, node.role);
    decide(this.options.log, 'certificate.issued', { node: node.id, role: node.role });
    return { nodeId: node.id, role: node.role, ...issued, lock };
  }

  /** A manager seals its new key before it writes it. */
  #lockFor(role: NodeRole): ManagersLock | null {
    return role === 'manager' ? (this.options.store.view().cluster().managersLock ?? null) : null;
  }

  async #sign(
    { csrPem, address }: IssueRequest,
    nodeId: NodeId,
    role: NodeRole,
  ): Promise<Pick<IssueReply, 'certificatePem' | 'trustPem'>> {
    const cluster = this.options.store.view().cluster();
    const named = address === '' ? {} : { address };
    const request = { cluster, csrPem, nodeId, role, clusterId: cluster.id, ...named };
    const certificatePem = await this.options.issueCertificate(request);
    const trustPem = trustOf(cluster);
    if (trustPem !== trustOf(this.options.store.view().cluster()))
      throw new SkepError('unavailable', 'the root CA changes: ask again');
    return { certificatePem, trustPem };
  }
}

/** The role a token admits to; compares both tokens in full whichever matches. */
export function roleOfToken({ joinTokens }: Pick<Cluster, 'joinTokens'>, token: string): NodeRole {
  const isManager = sameToken(token, joinTokens.manager);
  const isWorker = sameToken(token, joinTokens.worker);
  if (isManager) return 'manager';
  if (isWorker) return 'worker';
  throw noToken();
}

const noToken = (): SkepError =>
  new SkepError('invalidArgument', 'A valid join token is necessary to join this cluster', {
    isIntrusion: true,
  });

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
