/**
 * Asks the nodes that this one shares an overlay with whether they are there, and says who is silent (docs/adr/0025). The answer is
 * given by the peer's kernel, on the very way that packets to its tasks take: no daemon of the peer is asked, so one that is
 * stopped, killed or upgraded takes its node out of nothing.
 *
 * Each peer is asked on one overlay: ingress, which every node has, else the first shared one. Only IPv4 can be asked yet; who shares
 * none of that with us is never silent. Cost: four packets a second and peer each way, a thousand a second at most.
 */
import { statSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { familyOf } from '../../model/addresses.js';
import type { NodeId, Vni } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { native } from '../../runtime/native.js';
import { bridgeName, hostLinkName } from '../plan/names.js';
import type { NodeNetworkState, Overlay, Peer } from '../state.js';
import { etherTypeArp, parseAnswer, probeFrame, replyFilter } from './probe.js';
import type { Verdicts } from './verdicts.js';
import { peersPerTurn, turnMs } from './verdicts.js';

export interface ProberOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, 'sleep' | 'steadyMs'>;
  readonly verdicts: Verdicts;
  /** Keeps who has ever answered, for the daemon that comes after this one. */
  readonly save: (known: readonly NodeId[]) => Promise<void>;
  /** Path of an overlay's namespace. */
  readonly netnsPath: (vni: Vni) => string;
  /** Path of the host's namespace; null: the process's own. */
  readonly hostNetns: string | null;
}

/** What was asked and heard since it began, and who is how now. */
export interface LivenessFigures {
  readonly asked: number;
  readonly heard: number;
  /** Times that somebody fell silent. */
  readonly fallen: number;
  readonly peers: { readonly heard: number; readonly silent: number; readonly unjudged: number };
}

/** One who is asked. */
interface Probed {
  readonly nodeId: NodeId;
  readonly door: Door;
  readonly frame: Buffer;
}

/** Where questions go out on one overlay, and answers come in. */
interface Door {
  readonly overlay: Overlay;
  readonly byAddress: ReadonlyMap<string, Peer>;
  socket: { readonly fd: number; readonly inode: number; readonly received: { stop(): void } } | null;
  /** The errno's name of the last attempt. */
  error: string | null;
}

/** Those who are asked at one turn, and what has become of their round. */
interface Cohort {
  readonly peers: readonly Probed[];
  askedMs: number;
  asked: Set<NodeId>;
  heard: Set<NodeId>;
}

/** Turns of the event loop in which answers are read before any is missed. */
const readTurnsMax = 32;
/** Who has ever answered is written again this long after it could not be. */
const saveRetryMs = 10_000;

export class Prober implements Disposable {
  readonly #verdicts: Verdicts;
  readonly #cohortOf = new Map<NodeId, Cohort>();
  #doors: readonly Door[] = [];
  #cohorts: readonly Cohort[] = [];
  #turn = 0;
  #answers = 0;
  #questions = 0;
  #fallen = 0;
  #listener: () => void = () => undefined;
  #told: ReadonlySet<NodeId>;
  #telling = false;
  #unsaved = false;
  #saveDueMs = 0;

  constructor(private readonly options: ProberOptions) {
    this.#verdicts = options.verdicts;
    this.#told = options.verdicts.silent;
  }

  /** Nodes to whose tasks no new flow is to go; the same set until that changes. */
  get silent(): ReadonlySet<NodeId> {
    return this.#verdicts.silent;
  }

  /** Calls `listener` after each change of {@link silent}. */
  onChange(listener: () => void): void {
    this.#listener = listener;
  }

  figures(): LivenessFigures {
    const peers = { heard: 0, silent: 0, unjudged: 0 };
    for (const nodeId of this.#cohortOf.keys())
      if (this.silent.has(nodeId)) peers.silent += 1;
      else if (this.#verdicts.knows(nodeId)) peers.heard += 1;
      else peers.unjudged += 1;
    return { asked: this.#questions, heard: this.#answers, fallen: this.#fallen, peers };
  }

  /** Follows the state: whom to ask, and where. */
  setNetwork(state: NodeNetworkState | null): void {
    const overlays = (state?.overlays ?? []).filter(({ subnet }) => familyOf(subnet) === 4);
    const inOrder = [
      ...overlays.filter(({ ingress }) => ingress),
      ...overlays.filter(({ ingress }) => !ingress),
    ];
    const taken = new Set<NodeId>();
    const doors = inOrder.flatMap((overlay): Door[] => {
      const peers = overlay.peers.filter(({ nodeId }) => !taken.has(nodeId));
      for (const { nodeId } of peers) taken.add(nodeId);
      if (peers.length === 0) return [];
      const known = this.#doors.find((door) => door.overlay.id === overlay.id);
      if (known && isSameDoor(known, overlay, peers)) return [known];
      return [
        { overlay, byAddress: new Map(peers.map((peer) => [peer.address, peer])), socket: null, error: null },
      ];
    });
    if (doors.length === this.#doors.length && doors.every((door, index) => door === this.#doors[index]))
      return;
    for (const door of this.#doors) if (!doors.includes(door)) close(door);
    this.#doors = doors;
    this.#group();
    const silentBefore = this.silent;
    // A state that is gone for a moment must not cost what was known of who answers.
    if (state !== null && this.#verdicts.keep(taken)) this.#unsaved = true;
    if (this.silent !== silentBefore) this.#tell();
  }

  /** Opens what is not open, and anew what sits in a namespace that was replaced; true once all is. */
  async retry(): Promise<boolean> {
    let whole = true;
    for (const door of this.#doors) whole = this.#open(door) && whole;
    return whole;
  }

  /** Asks and judges until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.options;
    while (!signal.aborted) {
      await clock.sleep(turnMs, signal).catch(() => undefined);
      await this.#readAll();
      if (signal.aborted) return;
      const cohort = this.#cohorts[this.#turn++ % Math.max(1, this.#cohorts.length)];
      if (cohort) {
        this.#judge(cohort, clock.steadyMs());
        this.#ask(cohort);
      }
      await this.#save(clock.steadyMs());
    }
  }

  [Symbol.dispose](): void {
    for (const door of this.#doors) close(door);
  }

  #group(): void {
    const probed = this.#doors.flatMap((door) =>
      [...door.byAddress.values()].map((peer): Probed => ({
        nodeId: peer.nodeId,
        door,
        frame: probeFrame(door.overlay.own.mac, peer),
      })),
    );
    const count = Math.ceil(probed.length / peersPerTurn);
    this.#cohorts = Array.from({ length: count }, (_, index) => ({
      peers: probed.filter((_one, at) => at % count === index),
      askedMs: 0,
      asked: new Set(),
      heard: new Set(),
    }));
    this.#cohortOf.clear();
    for (const cohort of this.#cohorts)
      for (const { nodeId } of cohort.peers) this.#cohortOf.set(nodeId, cohort);
  }

  /** Timers come before sockets in a turn of the event loop, and a turn reads some answers of each socket only. */
  async #readAll(): Promise<void> {
    for (let turns = 0; turns < readTurnsMax; turns++) {
      const before = this.#answers;
      await nextTurn();
      if (this.#answers === before) return;
    }
  }

  #judge({ asked, heard, askedMs }: Cohort, nowMs: number): void {
    if (asked.size === 0) return;
    const fallen = this.#verdicts.judge({
      asked,
      heard,
      lengthMs: turnMs * this.#cohorts.length,
      tookMs: nowMs - askedMs,
    });
    this.#fallen += fallen.length;
    if (fallen.length > 0) this.#tell();
  }

  #ask(cohort: Cohort): void {
    for (const door of this.#doors) if (door.socket === null) this.#open(door);
    cohort.askedMs = this.options.clock.steadyMs();
    cohort.heard = new Set();
    cohort.asked = new Set();
    for (const { nodeId, door, frame } of cohort.peers) {
      if (door.socket === null) continue;
      try {
        native().send(door.socket.fd, frame);
        cohort.asked.add(nodeId);
        this.#questions += 1;
      } catch (err) {
        const code = codeOf(err);
        this.options.log.debug({ overlay: door.overlay.id, code }, 'a peer could not be asked');
        // What is full now is not later; anything else is a device that is gone.
        if (code !== 'ENOBUFS' && code !== 'EAGAIN') close(door);
      }
    }
  }

  #open(door: Door): boolean {
    const { log, netnsPath, hostNetns } = this.options;
    const { id, vni, ingress, own } = door.overlay;
    // Of ingress the node's own address is on the host's end of the pair.
    const [path, device] = ingress ? [hostNetns, hostLinkName] : [netnsPath(vni), bridgeName];
    const inode = path === null ? 0 : (statSync(path, { throwIfNoEntry: false })?.ino ?? 0);
    if (door.socket?.inode === inode) return true;
    close(door);
    try {
      const fd = native().openPacket(path, device, etherTypeArp, replyFilter);
      const received = native().poll(fd, (frame, error) => {
        if (frame) this.#hear(door, frame);
        else if (error?.code === 'ENETDOWN' || error?.code === 'ENODEV') close(door);
      });
      door.socket = { fd, inode, received };
      door.error = null;
    } catch (err) {
      const code = codeOf(err);
      // Told again only when it changes: the namespace comes a moment after the state.
      if (door.error !== code)
        log.debug({ overlay: id, own: own.address, code }, 'peers cannot be asked yet');
      door.error = code;
    }
    return door.socket !== null;
  }

  #hear(door: Door, frame: Buffer): void {
    this.#answers += 1;
    const answer = parseAnswer(frame);
    const peer = answer && door.byAddress.get(answer.address);
    if (!peer || peer.mac !== answer.mac) return;
    if (!this.#verdicts.knows(peer.nodeId)) this.#unsaved = true;
    this.#cohortOf.get(peer.nodeId)?.heard.add(peer.nodeId);
    if (this.#verdicts.hear(peer.nodeId)) this.#tell();
  }

  /** Once for all that changes in one turn of the event loop. */
  #tell(): void {
    if (this.#telling) return;
    this.#telling = true;
    setImmediate(() => {
      this.#telling = false;
      const { silent } = this;
      const { log } = this.options;
      const fallen = [...silent].filter((nodeId) => !this.#told.has(nodeId));
      const back = [...this.#told].filter((nodeId) => !silent.has(nodeId));
      this.#told = silent;
      if (fallen.length > 0) decide(log, 'node.silent', { nodes: fallen });
      if (back.length > 0) decide(log, 'node.heard', { nodes: back });
      if (fallen.length + back.length > 0) this.#listener();
    });
  }

  async #save(nowMs: number): Promise<void> {
    if (!this.#unsaved || nowMs < this.#saveDueMs) return;
    this.#unsaved = false;
    try {
      await this.options.save(this.#verdicts.known);
    } catch (err) {
      this.options.log.warn({ err }, 'who has answered could not be kept');
      this.#unsaved = true;
      this.#saveDueMs = nowMs + saveRetryMs;
    }
  }
}

const isSameDoor = ({ overlay: was, byAddress }: Door, overlay: Overlay, peers: readonly Peer[]): boolean =>
  was.vni === overlay.vni &&
  was.own.mac === overlay.own.mac &&
  was.ingress === overlay.ingress &&
  byAddress.size === peers.length &&
  peers.every((peer) => {
    const known = byAddress.get(peer.address);
    return known !== undefined && known.nodeId === peer.nodeId && known.mac === peer.mac;
  });

function close(door: Door): void {
  door.socket?.received.stop();
  door.socket = null;
}

const codeOf = (err: unknown): string => (err as NodeJS.ErrnoException).code ?? String(err);
