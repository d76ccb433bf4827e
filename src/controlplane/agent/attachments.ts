/**
 * Users' own containers on the swarm's networks (`docker run --network`, `docker network connect`). An attachment at the
 * managers holds such a container's address for as long as the engine has the container connected, running or not. This
 * is a reconciliation: whatever was removed, renamed, crashed or missed, a pass compares the engine's containers with the
 * attachments and makes these equal. Without a manager nothing is attached and nothing lost.
 *
 * No pass before this session's first whole set of assignments; an engine that does not answer is no engine without
 * containers. Cost of a pass: one listing of the engine's containers and networks, and an inspection of each new container.
 */
import { readFile } from 'node:fs/promises';
import { isAttachment } from '../../model/attachments.js';
import { SkepError } from '../../model/errors.js';
import type { RandomSource } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import type { Task } from '../../model/objects.js';
import { taskLabels } from '../../model/task-labels.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { Deadline } from '../../runtime/deadline.js';
import type { Log } from '../../runtime/log.js';

import { Trigger, runLoop } from '../../runtime/loop.js';
import { Waiters } from '../../runtime/waiters.js';
import type { AttachControl, AttachRequest, AttachedNetwork } from '../attach-control.js';
import { aliasesOption } from '../attach-control.js';
import type { Engine } from '../dockerd/client.js';
import type { ContainerEvents } from '../dockerd/events.js';
import type { AttachNetworkReply, AttachNetworkRequest } from '../rpc/messages.js';
import type { AttachmentStep, ConnectedLeg, KnownAttachment } from './attachment-plan.js';
import { nameserversAsked, parseNameservers, planAttachments } from './attachment-plan.js';
import { overlayIdOption } from './container-config.js';
import type { LocalNetworks } from './local-networks.js';
import type { NodeNetwork } from './node-network.js';

/** Swarm's limit, and its words when it is over. */
const attachWaitMs = 20_000;
const waitedInVain =
  'attaching to network failed, make sure your network options are correct and check manager logs: context deadline exceeded';
const retryMsMax = 1_000;
/** Longest that a reply to a user waits for the managers to hear of it. */
const settleMs = 2_000;
const resyncMs = 30_000;
const passRetryMsMax = 5_000;

/** The managers, within a session. */
export interface AttachmentCalls {
  attachNetwork(request: Omit<AttachNetworkRequest, 'sessionId'>): Promise<AttachNetworkReply>;
  detachNetworks(attachmentIds: readonly string[]): Promise<unknown>;
}

export interface NetworkAttachmentsOptions {
  readonly engine: Pick<Engine, 'container' | 'connectedContainers' | 'listNetworks'>;
  readonly events: Pick<ContainerEvents, 'watchAll'>;
  readonly network: Pick<NodeNetwork, 'overlays' | 'knownOverlays' | 'requireEsp'>;
  readonly localNetworks: Pick<LocalNetworks, 'hold' | 'release' | 'ensure'>;
  /** The host's nameservers, as the engine reads them; by default from its files. */
  readonly hostNameservers?: () => Promise<readonly string[]>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

/** What an inspection of a container told; it changes only with its networks. */
interface ContainerMaking {
  readonly networks: string;
  readonly dns: readonly string[];
  readonly aliases: ReadonlyMap<string, readonly string[]>;
}

export class NetworkAttachments implements AttachControl {
  #assigned: ReadonlyMap<string, KnownAttachment> = new Map();
  /** Granted to us, and not yet among the assignments. */
  readonly #granted = new Map<string, { readonly attachment: KnownAttachment; readonly revision: number }>();
  /** Of containers that are being made or connected. */
  readonly #reserved = new Set<string>();
  readonly #held = new Set<string>();
  readonly #making = new Map<string, ContainerMaking>();
  /** Containers whose place could not be had, said once. */
  readonly #refused = new Set<string>();
  #calls: AttachmentCalls | undefined;
  #whole = false;
  readonly #wake = new Trigger();
  #wanted = 0;
  #completed = 0;
  /** A session began, or a pass is through. */
  readonly #changed = new Waiters();

  constructor(private readonly options: NetworkAttachmentsOptions) {}

  /** The attachments of this node at `revision`, as a session's message has them. */
  set(tasks: readonly Task[], revision: number): void {
    this.#assigned = new Map(tasks.filter(isAttachment).map((task) => [task.id, toKnown(task)]));
    for (const [id, granted] of this.#granted) if (granted.revision <= revision) this.#granted.delete(id);
    this.#holdNetworks();
    this.#whole = true;
    this.#wake.fire();
  }

  /** Keeps attachments equal to containers until the session ends. */
  async run(calls: AttachmentCalls, signal: AbortSignal): Promise<void> {
    const { clock, log, events } = this.options;
    this.#calls = calls;
    this.#whole = false;
    this.#changed.check();
    using _watch = events.watchAll(this.#wake.fire);
    try {
      await runLoop(
        {
          ...{ name: 'attachments', trigger: this.#wake, clock, log },
          ...{ resyncMs, gapMs: 20, retryMsMax: passRetryMsMax },
        },
        () => this.#pass(calls),
        signal,
      );
    } finally {
      if (this.#calls === calls) this.#calls = undefined;
    }
  }

  async attach(request: AttachRequest, signal: AbortSignal): Promise<AttachedNetwork> {
    const { random, network, localNetworks, clock } = this.options;
    using deadline = new Deadline(clock, attachWaitMs);
    const limit = AbortSignal.any([signal, deadline.signal]);
    const attachmentId = newId<string>(random);
    this.#reserved.add(attachmentId);
    let held = attachmentId;
    try {
      const reply = await this.#ask({ ...request, attachmentId, nameservers: [] }, limit);
      held = reply.attachmentId;
      if (held !== attachmentId) this.#reserved.delete(attachmentId);
      this.#reserved.add(held);
      const { networkId, networkName, address } = reply;
      const overlays = await network.overlays([networkId], attachWaitMs, limit);
      const overlay = overlays?.get(networkId);
      if (!overlay) throw new SkepError('deadlineExceeded', waitedInVain);
      network.requireEsp(overlay);
      const engineNetworkId = await localNetworks.ensure(overlay);
      const { ownAddress } = overlay;
      return { attachmentId: held, networkId, networkName, address, ownAddress, engineNetworkId };
    } catch (err) {
      this.#reserved.delete(attachmentId);
      this.#reserved.delete(held);
      this.#wake.fire();
      if (!deadline.hasPassed || signal.aborted) throw err;
      const why = err instanceof SkepError && err.message !== waitedInVain ? ` (${err.message})` : '';
      throw new SkepError('deadlineExceeded', waitedInVain + why, { cause: err });
    }
  }

  lacks(networkId: string, address: string): boolean {
    if (!this.#calls || !this.#whole) return false;
    return !this.#known().some((known) => known.networkId === networkId && known.address === address);
  }

  async settle(done: readonly string[] = []): Promise<void> {
    for (const id of done) this.#reserved.delete(id);
    if (!this.#calls || this.#known().length === 0) return;
    const mine = ++this.#wanted;
    this.#wake.fire();
    using deadline = new Deadline(this.options.clock, settleMs);
    await this.#changed.until(() => this.#completed >= mine, deadline.signal).catch(() => undefined);
  }

  /** Asks the managers until they answer with a grant or a refusal; what may pass is asked again. */
  async #ask(
    request: Omit<AttachNetworkRequest, 'sessionId'>,
    signal: AbortSignal,
  ): Promise<AttachNetworkReply> {
    for (let failures = 1; ; failures++) {
      await this.#changed.until(() => this.#calls !== undefined, signal);
      try {
        return this.#grant(request, await (this.#calls as AttachmentCalls).attachNetwork(request));
      } catch (err) {
        if (!(err instanceof SkepError) || !mayPass.has(err.kind)) throw err;
        await this.options.clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
        if (signal.aborted) throw err;
      }
    }
  }

  #grant(request: Omit<AttachNetworkRequest, 'sessionId'>, reply: AttachNetworkReply): AttachNetworkReply {
    const { attachmentId: id, networkId, address, revision } = reply;
    const { containerId, containerName, aliases, nameservers } = request;
    const attachment = { id, networkId, address, containerId, containerName, aliases, nameservers };
    this.#granted.set(id, { attachment, revision });
    this.#holdNetworks();
    return reply;
  }

  /** Granted ones are newer than what is assigned. */
  #known(): readonly KnownAttachment[] {
    const granted = [...this.#granted].map(([id, { attachment }]) => [id, attachment] as const);
    return [...new Map([...this.#assigned, ...granted]).values()];
  }

  /** The engine must keep a network for a container that does not run, though it would let go of it. */
  #holdNetworks(): void {
    const { localNetworks, log } = this.options;
    const known = this.#known();
    for (const { id, networkId } of known) {
      this.#held.add(id);
      localNetworks.hold(id, [networkId]);
    }
    const ids = new Set(known.map(({ id }) => id));
    for (const id of this.#held) {
      if (ids.has(id)) continue;
      this.#held.delete(id);
      localNetworks
        .release(id)
        .catch((err: unknown) => log.warn({ attachment: id, err }, 'leaving a network behind'));
    }
  }

  async #pass(calls: AttachmentCalls): Promise<void> {
    if (!this.#whole) return;
    const { log } = this.options;
    const wanted = this.#wanted;
    const legs = await this.#connectedLegs();
    const steps = planAttachments(this.#known(), legs, this.#reserved);
    const gone = steps.flatMap((step) => (step.step === 'detach' ? [step.id] : []));
    if (gone.length > 0) {
      await calls.detachNetworks(gone);
      for (const id of gone) this.#granted.delete(id);
      log.info({ attachments: gone }, 'detached containers that are gone');
    }
    for (const step of steps) if (step.step !== 'detach') await this.#tell(calls, step);
    this.#completed = wanted;
    this.#changed.check();
  }

  /** One refusal must not keep the others from being told. */
  async #tell(
    calls: AttachmentCalls,
    step: Exclude<AttachmentStep, { readonly step: 'detach' }>,
  ): Promise<void> {
    const { leg } = step;
    const known = step.step === 'describe' ? step.known : undefined;
    const key = `${leg.networkId} ${leg.address} ${leg.containerId}`;
    const request = {
      attachmentId: known?.id ?? newId<string>(this.options.random),
      network: leg.networkId,
      containerId: leg.containerId,
      containerName: leg.containerName,
      aliases: known?.aliases ?? leg.aliases ?? [],
      address: leg.address,
      nameservers: leg.nameservers,
    };
    try {
      this.#grant(request, await calls.attachNetwork(request));
      this.#refused.delete(key);
    } catch (err) {
      if (!(err instanceof SkepError) || mayPass.has(err.kind)) throw err;
      if (!this.#refused.has(key)) this.options.log.warn({ ...request, err }, 'a container has no place');
      this.#refused.add(key);
    }
  }

  /** Users' containers on networks of the swarm. */
  async #connectedLegs(): Promise<ConnectedLeg[]> {
    const { engine, network, hostNameservers = readHostNameservers } = this.options;
    const overlays = network.knownOverlays();
    const networkIds = new Map([...overlays.values()].map(({ id, name }) => [name, id]));
    for (const { name, labels } of await engine.listNetworks(overlayIdOption))
      networkIds.set(name, labels[overlayIdOption] ?? '');
    const containers = (await engine.connectedContainers()).filter(
      ({ labels, networks }) =>
        labels[taskLabels.taskId] === undefined && networks.some(({ name }) => networkIds.has(name)),
    );
    const present = new Set(containers.map(({ id }) => id));
    for (const id of this.#making.keys()) if (!present.has(id)) this.#making.delete(id);
    const host = containers.length === 0 ? [] : await hostNameservers();
    const legs: ConnectedLeg[] = [];
    for (const { id, name: containerName, networks } of containers) {
      const mine = networks.flatMap((leg) => {
        const networkId = networkIds.get(leg.name);
        return networkId === undefined || leg.address === '' ? [] : [{ ...leg, networkId }];
      });
      const making = await this.#makingOf(id, mine.map(({ name }) => name).join());
      if (!making) continue; // gone since
      // The default bridge has no names.
      const hasOthers = networks.some(({ name }) => name !== 'bridge' && !networkIds.has(name));
      const nameservers = hasOthers ? nameserversAsked(making.dns, host) : [];
      for (const { name, networkId, address } of mine) {
        const aliases = making.aliases.get(name);
        const leg = { containerId: id, containerName, networkId, address, nameservers };
        legs.push(aliases ? { ...leg, aliases } : leg);
      }
    }
    return legs;
  }

  async #makingOf(containerId: string, networks: string): Promise<ContainerMaking | undefined> {
    const known = this.#making.get(containerId);
    if (known?.networks === networks) return known;
    const container = await this.options.engine.container(containerId);
    if (!container) return undefined;
    const aliases = new Map(
      [...container.driverOptions].flatMap(([name, options]) => {
        const text = options[aliasesOption];
        return text === undefined ? [] : [[name, text.split(',').filter((alias) => alias !== '')] as const];
      }),
    );
    const making = { networks, dns: container.dns, aliases };
    this.#making.set(containerId, making);
    return making;
  }
}

/** Takes users' containers off the swarm's networks; they go on without. */
export async function disconnectUsersContainers({
  engine,
  log,
}: {
  readonly engine: Pick<Engine, 'connectedContainers' | 'listNetworks' | 'disconnectNetwork'>;
  readonly log: Log;
}): Promise<void> {
  const names = new Map((await engine.listNetworks(overlayIdOption)).map(({ id, name }) => [name, id]));
  for (const { id, labels, networks } of await engine.connectedContainers()) {
    if (labels[taskLabels.taskId] !== undefined) continue;
    for (const { name } of networks) {
      const network = names.get(name);
      if (network === undefined) continue;
      log.info({ container: id, network: name }, 'disconnecting a container from a network that goes');
      await engine.disconnectNetwork(network, id);
    }
  }
}

/** Refusals that another moment may take back. */
const mayPass: ReadonlySet<SkepError['kind']> = new Set(['unavailable', 'aborted', 'deadlineExceeded']);

function toKnown(task: Task): KnownAttachment {
  const [leg] = task.networks;
  const { containerId = '', containerName = '', nameservers = [] } = task.spec.networkAttachment ?? {};
  return {
    id: task.id,
    networkId: leg?.networkId ?? '',
    address: leg?.address ?? '',
    containerId,
    containerName,
    aliases: leg?.aliases ?? [],
    nameservers,
  };
}

/** As dockerd chooses: systemd-resolved's own file where the host's names nothing but its stub. */
async function readHostNameservers(): Promise<readonly string[]> {
  const read = (path: string): Promise<string[]> => readFile(path, 'utf8').then(parseNameservers, () => []);
  const servers = await read('/etc/resolv.conf');
  return servers.length === 1 && servers[0] === '127.0.0.53'
    ? read('/run/systemd/resolve/resolv.conf')
    : servers;
}
