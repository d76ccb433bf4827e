/**
 * What nodes say of themselves as they register, written in batches: where a thousand of them come at a time, to a new leader or
 * with the power, each write would wake every loop of the manager.
 */
import type { Ip } from '../../model/addresses.js';
import { parseIp } from '../../model/addresses.js';
import { balancerLabel } from '../../model/balancing.js';
import { espLabel } from '../../model/encryption.js';
import { SkepError } from '../../model/errors.js';
import { parseGenericResources, someResources } from '../../model/generic-resources.js';
import { parseHostRoutes } from '../../model/host-routes.js';
import type { NodeId } from '../../model/ids.js';
import type { Node, NodeDescription } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { WireNodeDescription } from '../rpc/messages.js';
import type { Store, Transaction } from '../store/store.js';
import { maxWrites } from '../store/store.js';
import { StoreBatches } from './store-batches.js';

/** Long enough for many, and nothing beside the time that a node takes to come. */
export const registrationBatchMs = 100;

/** Of one transaction: each writes its node, and at most one that had its address before. */
const perTransaction = maxWrites / 2;

export interface RegistrationsOptions {
  readonly store: Store;
  readonly clock: Clock;
}

/** What of a node it says itself; without a status and an address: in a session that it has. */
type Said = Pick<Node, 'espEpoch' | 'dataPathAddr'> &
  Partial<Pick<Node, 'status'>> & { readonly description: NodeDescription };

export class Registrations {
  readonly #batches: StoreBatches<NodeId, Said>;

  constructor(private readonly options: RegistrationsOptions) {
    this.#batches = new StoreBatches<NodeId, Said>({
      clock: options.clock,
      gapMs: registrationBatchMs,
      write: (items) => this.#write([...items]),
    });
  }

  /**
   * Resolves once it is in the store. Throws `invalidArgument` for what is no description, `notFound` for a node that is no more.
   * @param addr where the node calls from
   * @param dataPathAddr empty: there
   */
  async register(
    nodeId: NodeId,
    wire: WireNodeDescription,
    addr: string,
    dataPathAddr: string,
  ): Promise<void> {
    const address = dataPathAddr || addr;
    await this.#say(nodeId, {
      ...descriptionSaidBy(wire),
      status: { state: 'ready', message: '', addr },
      ...(address === '' ? {} : { dataPathAddr: parseIp(address) }),
    });
    if (!this.options.store.view().get('node', nodeId))
      throw new SkepError('notFound', 'node not registered');
  }

  /**
   * What is to be known of a node that has registered. Its state stays: whether it is ready is its session's to say. Resolves, and
   * throws `invalidArgument`, as {@link register}.
   */
  async describe(nodeId: NodeId, wire: WireNodeDescription): Promise<void> {
    await this.#say(nodeId, descriptionSaidBy(wire));
  }

  async #say(nodeId: NodeId, said: Said): Promise<void> {
    const { items, done } = this.#batches.open();
    items.set(nodeId, { ...items.get(nodeId), ...said });
    await done;
  }

  async #write(all: readonly (readonly [NodeId, Said])[]): Promise<void> {
    for (let i = 0; i < all.length; i += perTransaction)
      await this.options.store.update((tx) => writeNodes(tx, all.slice(i, i + perTransaction)));
  }
}

const descriptionSaidBy = (wire: WireNodeDescription): Pick<Said, 'description' | 'espEpoch'> => ({
  description: toDescription(wire),
  // 0: its dataplane is away for a moment, and still sends with the same keys.
  ...(wire.espEpoch === 0 ? {} : { espEpoch: wire.espEpoch }),
});

function writeNodes(tx: Transaction, some: readonly (readonly [NodeId, Said])[]): void {
  const holders = new Map<Ip, NodeId>();
  for (const { id, dataPathAddr } of tx.list('node')) if (dataPathAddr) holders.set(dataPathAddr, id);
  for (const [id, said] of some) {
    const node = tx.get('node', id);
    if (!node) continue;
    const { dataPathAddr } = said;
    if (dataPathAddr) {
      giveUp(tx, holders.get(dataPathAddr), id, dataPathAddr);
      holders.set(dataPathAddr, id);
    }
    // Also where it says nothing new: a term that begins may be writing that it is unknown, and one of the two must see the other.
    tx.update('node', {
      ...node,
      ...said,
      ...(said.espEpoch === undefined && {
        description: withKnownLabels(said.description, node.description),
      }),
    });
  }
}

/** A daemon that starts beside a dataplane that is away cannot tell its labels: no constraint is to fail for that. */
function withKnownLabels(said: NodeDescription, before: NodeDescription | undefined): NodeDescription {
  const known = Object.entries(before?.engine.labels ?? {}).filter(
    ([name]) => name === balancerLabel || name === espLabel,
  );
  const labels = { ...Object.fromEntries(known), ...said.engine.labels };
  return { ...said, engine: { ...said.engine, labels } };
}

/** A host that has joined anew, or has taken another's place: what is sent to this address is this node's from now on. */
function giveUp(tx: Transaction, holder: NodeId | undefined, to: NodeId, address: Ip): void {
  if (holder === undefined || holder === to) return;
  const other = tx.get('node', holder);
  if (other?.dataPathAddr !== address) return;
  const { dataPathAddr: _, ...without } = other;
  tx.update('node', without);
}

const toDescription = (wire: WireNodeDescription): NodeDescription => ({
  hostname: wire.hostname,
  platform: { architecture: wire.architecture, os: wire.os },
  resources: {
    nanoCpus: wire.nanoCpus,
    memoryBytes: wire.memoryBytes,
    ...someResources(parseGenericResources(wire.genericResources)),
  },
  engine: { engineVersion: wire.engineVersion, labels: wire.engineLabels, plugins: wire.plugins },
  tlsInfo: wire.tlsInfo ?? { trustRoot: '', certIssuerSubject: '', certIssuerPublicKey: '' },
  routes: parseHostRoutes(wire.routes),
});
