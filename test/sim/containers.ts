/**
 * Users' own containers in the simulated cluster: engines that make and lose them without a word to anybody, agents that
 * compare (the real plan) and tell the managers (the real dispatcher's half), with what an agent knows as old as may be.
 */
import assert from 'node:assert';
import { pino } from 'pino';
import { allocateLeg } from '../../src/controlplane/allocator/leg.js';
import type { ConnectedLeg, KnownAttachment } from '../../src/controlplane/agent/attachment-plan.js';
import { planAttachments } from '../../src/controlplane/agent/attachment-plan.js';
import { Attachments } from '../../src/controlplane/dispatcher/attachments.js';
import type { MemoryStore } from '../../src/controlplane/store/memory.js';
import { isAttachment } from '../../src/model/attachments.js';
import { SkepError } from '../../src/model/errors.js';
import type { NodeId, RandomSource } from '../../src/model/ids.js';
import { newId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { systemClock } from '../../src/runtime/clock.js';

const networkId = 'net1';
const containersMax = 8;

export class Containers {
  /** What the engines have, by id. */
  readonly #containers = new Map<string, { readonly nodeId: NodeId; readonly address: string }>();
  readonly #attachments: Attachments;
  /** Of each node, the attachments that its agent knows of. */
  readonly #known = new Map<NodeId, readonly Task[]>();
  #made = 0;

  constructor(
    private readonly store: MemoryStore,
    private readonly next: () => number,
    private readonly random: RandomSource,
    nowMs: () => number,
  ) {
    const clock = { ...systemClock, nowMs };
    this.#attachments = new Attachments({ store, clock, log: pino({ level: 'silent' }), allocateLeg });
  }

  /** One user, engine or agent does something. */
  async step(): Promise<void> {
    const nodes = this.store.view().list('node');
    const node = nodes[Math.floor(this.next() * nodes.length)];
    assert(node);
    const isUp = node.status.state !== 'down';
    const dice = this.next();
    if (dice < 0.3) {
      if (isUp && this.#containers.size < containersMax) await this.#run(node.id);
    } else if (dice < 0.5) {
      const [first] = this.#containers.keys();
      if (first !== undefined) this.#containers.delete(first);
    } else if (dice < 0.7) this.#learn(node.id);
    else if (isUp) await this.#compare(node.id);
  }

  /** The node is no more of the cluster, whatever its engine goes on with. */
  forget(nodeId: NodeId): void {
    for (const [id, container] of this.#containers)
      if (container.nodeId === nodeId) this.#containers.delete(id);
  }

  /** Every agent hears of all and compares. */
  async settle(): Promise<void> {
    for (const { id } of this.store.view().list('node')) {
      this.#learn(id);
      await this.#compare(id);
    }
  }

  /** What is held is what the engines have, no more and no less. */
  check(): void {
    const held = this.store
      .view()
      .list('task')
      .filter(isAttachment)
      .map(({ nodeId, networks }) => `${nodeId} ${networks[0]?.address}`);
    const wanted = [...this.#containers.values()].map(({ nodeId, address }) => `${nodeId} ${address}`);
    assert.deepEqual(held.sort(), wanted.sort(), 'attachments and containers');
  }

  #learn(nodeId: NodeId): void {
    this.#known.set(nodeId, this.store.view().tasksOnNode(nodeId).filter(isAttachment));
  }

  /** `docker run`: a place, then the container; now and then everything dies in between. */
  async #run(nodeId: NodeId): Promise<void> {
    const address = await this.#attach(nodeId, newId(this.random), '', '');
    if (address === undefined || this.next() < 0.2) return;
    this.#made += 1;
    this.#containers.set(String(this.#made).padStart(64, '0'), { nodeId, address });
    this.#learn(nodeId);
  }

  async #compare(nodeId: NodeId): Promise<void> {
    const known = (this.#known.get(nodeId) ?? []).map((task): KnownAttachment => ({
      id: task.id,
      networkId,
      address: task.networks[0]?.address ?? '',
      containerId: task.spec.networkAttachment?.containerId ?? '',
      containerName: task.spec.networkAttachment?.containerName ?? '',
      aliases: [],
      nameservers: [],
    }));
    const legs = [...this.#containers].flatMap(([containerId, container]): ConnectedLeg[] =>
      container.nodeId === nodeId
        ? [{ containerId, containerName: 'box', networkId, address: container.address, nameservers: [] }]
        : [],
    );
    for (const step of planAttachments(known, legs, new Set())) {
      if (step.step === 'detach') await this.#attachments.detach(nodeId, [step.id]);
      else {
        const id = step.step === 'describe' ? step.known.id : newId<string>(this.random);
        await this.#attach(nodeId, id, step.leg.containerId, step.leg.address);
      }
    }
  }

  /** The address, or undefined if the managers refuse. */
  async #attach(
    nodeId: NodeId,
    id: string,
    containerId: string,
    address: string,
  ): Promise<string | undefined> {
    const names = { containerName: 'box', aliases: [], nameservers: [] };
    try {
      const request = { sessionId: '', attachmentId: id, network: networkId, containerId, address, ...names };
      return (await this.#attachments.attach(nodeId, request)).address;
    } catch (err) {
      if (err instanceof SkepError) return undefined;
      throw err;
    }
  }
}
