/**
 * The DNS server of this node: a listener on the node's address of each overlay, and one inside each container. Follows the
 * state: every answer from the one state held at that moment, nothing answered before there is a state. Keeps answering from the
 * last state whatever happens to the managers, and in containers whatever happens to the engine.
 *
 * A container's own listener knows who asks without looking at a source address, and has a receive buffer of its own: what
 * floods it makes others wait for no more than a few of its datagrams. Requests are led there by rules (plan/sandbox-names.ts)
 * once the listener is open; until then the engine's resolver asks the listener on the overlay.
 */
import { statSync } from 'node:fs';
import type { Ip } from '../../model/addresses.js';
import type { NetworkId, Vni } from '../../model/ids.js';
import type { Log } from '../../runtime/log.js';
import { nameAddress, namePort } from '../plan/names.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { AnswerCache } from './answer-cache.js';
import type { Forwarder } from './forwarder.js';
import type { AnswerMessage } from './listener.js';
import { connectionsMax, DnsListener } from './listener.js';
import type { NameFigures, QueryOutcome } from './query-counts.js';
import { QueryCounts, slotOf } from './query-counts.js';
import type { Asker } from './names.js';
import { NameIndex } from './names.js';
import type { Resolution } from './resolve.js';
import { answerTtlS, resolve } from './resolve.js';
import type { DnsQuery, Rcode, Transport } from './wire.js';
import { formatAnswer, formatFailure, parseQuery } from './wire.js';

const dnsPort = 53;
/** A TCP message's length has 16 bits. */
const tcpBytesMax = 65_535;
/** TCP connections of one container on an overlay's listener. */
const perSourceMax = 8;

/** Octets of questions and answers kept, of all containers; when there are more all are forgotten. */
const keptBytesMax = 8 * 1024 * 1024;
/** What keeping one takes beside them, about. */
const keptEntryBytes = 256;
/** Of so many questions one is timed: to look at the clock costs as much as an answer that was kept. A power of two. */
const timedEvery = 64;
/** The longest question that is kept, in octets: a name and a few options. */
const keptQuestionBytesMax = 512;

/** Who asks, and what was answered before. */
interface Known {
  readonly asker: Asker;
  readonly answers: AnswerCache;
}

export interface DnsServerOptions {
  readonly log: Log;
  readonly forwarder: Pick<Forwarder, 'forward'>;
  /** Path of an overlay's namespace. */
  readonly netnsPath?: (vni: Vni) => string;
  /** Milliseconds since some moment, for how long answers take. */
  readonly steadyMs?: () => number;
}

/** How it stands with one overlay; `error` is the errno's name of the last attempt. */
export interface DnsListenerStatus {
  readonly overlayId: NetworkId;
  readonly address: Ip;
  readonly listening: boolean;
  readonly error: string | null;
}

/** A listener that is to be open in the namespace at `path`. */
interface Slot {
  readonly path: string;
  readonly address: Ip;
  readonly port: number;
  readonly perSourceMax: number;
  readonly answer: AnswerMessage;
  readonly log: Log;
  listener: DnsListener | null;
  /** Of the namespace's file when the listener was opened: another number is another namespace. */
  inode: number;
  error: string | null;
}

interface OverlaySlot extends Slot {
  readonly overlay: Pick<Overlay, 'id' | 'vni'>;
}

export class DnsServer implements Disposable {
  readonly #overlays = new Map<NetworkId, OverlaySlot>();
  /** By the path of the container's namespace. */
  readonly #sandboxes = new Map<string, Slot>();
  readonly #netnsPath: (vni: Vni) => string;
  #names: NameIndex | null = null;
  #endpoints: readonly SandboxEndpoint[] = [];
  /** Containers by the paths of their namespaces, of the state that stands. */
  readonly #known = new Map<string, Known>();
  #keptBytes = 0;
  #rotation = 0;
  readonly #counts = new QueryCounts();
  readonly #steadyMs: () => number;
  #asked = 0;

  constructor(private readonly options: DnsServerOptions) {
    this.#steadyMs = options.steadyMs ?? (() => performance.now());
    this.#netnsPath = options.netnsPath ?? ((vni) => `/run/netns/skep-${vni}`);
  }

  /**
   * Answers from `state` from now on; closes the listeners of overlays that are gone and tries to open the others. Without a
   * state nothing is answered.
   * @param endpoints containers' legs, by which it is known what each may see
   */
  setNetwork(state: NodeNetworkState | null, endpoints: readonly SandboxEndpoint[]): void {
    if (state !== null && this.#names !== null) this.#names.change(state);
    else this.#names = state && new NameIndex(state);
    this.#endpoints = endpoints;
    this.#forget();
    // Ingress has no names, and its own address is the host's: a listener there could never open.
    const named = state?.overlays.filter(({ ingress }) => !ingress);
    const wanted = new Map(named?.map((overlay) => [overlay.id, overlay]));
    for (const [id, slot] of this.#overlays) {
      const overlay = wanted.get(id);
      if (overlay?.vni === slot.overlay.vni && overlay.own.address === slot.address) continue;
      slot.listener?.close();
      this.#overlays.delete(id);
    }
    for (const overlay of wanted.values())
      if (!this.#overlays.has(overlay.id)) this.#overlays.set(overlay.id, this.#overlaySlot(overlay));
    this.retry();
  }

  /**
   * Opens what is not open and reopens what sits in a namespace that was replaced. Call after the kernel was programmed.
   * @returns true once all is open
   */
  retry(): boolean {
    for (const slot of this.#overlays.values()) open(slot);
    return [...this.#overlays.values()].every(({ listener }) => listener !== null);
  }

  /**
   * Sees to it that names are answered on {@link nameAddress} inside a container, for as long as {@link closeSandbox} is not
   * called: the sockets keep the namespace.
   * @returns false while they cannot be, e.g. because a program there has taken the port
   */
  openSandbox(path: string): boolean {
    const slot = this.#sandboxes.get(path) ?? this.#sandboxSlot(path);
    this.#sandboxes.set(path, slot);
    open(slot);
    return slot.listener !== null;
  }

  closeSandbox(path: string): void {
    this.#sandboxes.get(path)?.listener?.close();
    this.#sandboxes.delete(path);
    this.#known.delete(path);
  }

  status(): DnsListenerStatus[] {
    return [...this.#overlays.values()].map(({ overlay, address, listener, error }) => ({
      overlayId: overlay.id,
      address,
      listening: listener !== null,
      error,
    }));
  }

  /** What was asked since this server was made, and what is open. */
  figures(): NameFigures {
    const slots = [...this.#overlays.values(), ...this.#sandboxes.values()];
    const open = slots.filter(({ listener }) => listener !== null).length;
    const { queries, dropped, state, resolvers } = this.#counts;
    return {
      queries,
      dropped,
      seconds: { state: state.values, resolvers: resolvers.values },
      listeners: { open, closed: slots.length - open },
    };
  }

  /** Closes every listener. */
  [Symbol.dispose](): void {
    this.setNetwork(null, []);
    for (const path of [...this.#sandboxes.keys()]) this.closeSandbox(path);
  }

  #overlaySlot({ id, vni, own: { address } }: Overlay): OverlaySlot {
    return {
      overlay: { id, vni },
      path: this.#netnsPath(vni),
      address,
      port: dnsPort,
      perSourceMax,
      answer: this.#timed((message, from, transport) =>
        this.#answer(message, transport, `${id} ${from()}`, (names) => names.askerAt(id, from())),
      ),
      log: this.options.log.child({ overlay: id, address }),
      listener: null,
      inode: 0,
      error: null,
    };
  }

  #sandboxSlot(path: string): Slot {
    const legs = (): NetworkId[] =>
      this.#endpoints.flatMap(({ sandboxKey, overlayId }) => (sandboxKey === path ? [overlayId] : []));
    return {
      path,
      address: nameAddress,
      port: namePort,
      perSourceMax: connectionsMax,
      answer: this.#timed((message, _from, transport) => {
        if (!this.#names) return this.#dropped();
        const known = this.#known.get(path) ?? {
          asker: this.#names.askerWith(legs()),
          answers: new AnswerCache(this.#counts.bySlot),
        };
        this.#known.set(path, known);
        const kept = transport === 'udp' && known.answers.find(message, this.#rotation + 1);
        if (!kept) return this.#answer(message, transport, path, () => known.asker, known.answers);
        this.#rotation = (this.#rotation + 1) >>> 0;
        return kept;
      }),
      log: this.options.log.child({ sandbox: path }),
      listener: null,
      inode: 0,
      error: null,
    };
  }

  /** As `answer`; takes the time of some, those aside that others are asked. */
  #timed(answer: AnswerMessage): AnswerMessage {
    return (message, from, transport) => {
      this.#asked = (this.#asked + 1) % timedEvery;
      if (this.#asked !== 0) return answer(message, from, transport);
      const begunMs = this.#steadyMs();
      const answered = answer(message, from, transport);
      if (answered instanceof Buffer) this.#counts.state.observe((this.#steadyMs() - begunMs) / 1000);
      return answered;
    };
  }

  #dropped(): null {
    this.#counts.dropped += 1;
    return null;
  }

  #answer(
    message: Buffer,
    transport: Transport,
    from: string,
    askerOf: (names: NameIndex) => Asker,
    answers?: AnswerCache,
  ): ReturnType<AnswerMessage> {
    // A copy, for a question that is asked of others is kept for longer than its message.
    const parsed = parseQuery(Buffer.from(message));
    if (parsed.kind === 'drop' || !this.#names) return this.#dropped();
    if (parsed.kind === 'refuse') {
      this.#counts.count(slotOf('other', 'refused'));
      return parsed.response;
    }
    const { query } = parsed;
    const { type } = query.question;
    if (query.question.class !== 'IN') {
      this.#counts.count(slotOf(type, 'refused'));
      return formatFailure(query, 'notImplemented');
    }
    this.#rotation = (this.#rotation + 1) >>> 0;
    const resolution = resolve(query.question, askerOf(this.#names), this.#rotation);
    const isEmpty = resolution.kind === 'answer' && resolution.records.length === 0;
    const slot = slotOf(type, isEmpty ? 'empty' : outcomeOf[resolution.kind]);
    this.#counts.count(slot);
    switch (resolution.kind) {
      case 'answer': {
        const bytesMax = transport === 'udp' ? query.udpBytes : tcpBytesMax;
        const answer = formatAnswer(query, resolution.records, answerTtlS, bytesMax);
        if (answers && transport === 'udp')
          this.#keep(answers, query.bytes, resolution.records.length, answer, slot);
        return answer;
      }
      case 'unknown':
        return formatFailure(query, 'unknownName');
      case 'isolated':
        return formatFailure(query, unanswered(query));
      case 'forward':
        return this.#forwarded(this.options.forwarder.forward(query, transport, from, unanswered(query)));
    }
  }

  async #forwarded(answering: Promise<Buffer>): Promise<Buffer> {
    const begunMs = this.#steadyMs();
    const answer = await answering;
    this.#counts.resolvers.observe((this.#steadyMs() - begunMs) / 1000);
    return answer;
  }

  #keep(answers: AnswerCache, message: Buffer, turns: number, answer: Buffer, slot: number): void {
    if (message.length > keptQuestionBytesMax) return;
    this.#keptBytes += message.length + answer.length + keptEntryBytes;
    if (this.#keptBytes > keptBytesMax) this.#forget();
    else answers.keep(message, this.#rotation, turns, answer, slot);
  }

  #forget(): void {
    this.#known.clear();
    this.#keptBytes = 0;
  }
}

/** What a resolution is counted as; an answer without records as empty. */
const outcomeOf = {
  answer: 'answered',
  unknown: 'unknown',
  isolated: 'isolated',
  forward: 'forwarded',
} as const satisfies Record<Resolution['kind'], QueryOutcome>;

/**
 * What is said of a name of which nobody else could be asked: the host's resolvers would know one of the world's; a single label is
 * a service or a container, and there is none.
 */
const unanswered = ({ question: { name } }: DnsQuery): Rcode =>
  name.replace(/\.$/, '').includes('.') ? 'serverFailure' : 'unknownName';

function open(slot: Slot): void {
  const { path, address, port, answer, log } = slot;
  const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
  if (slot.listener && slot.inode === inode) return;
  slot.listener?.close();
  slot.listener = null;
  try {
    const listener = new DnsListener(path, address, port, slot.perSourceMax, answer, (err) => {
      if (slot.listener === listener) slot.listener = null;
      slot.error = errorCode(err);
      log.warn({ err }, 'DNS listener failed');
    });
    slot.listener = listener;
    slot.inode = inode;
    slot.error = null;
    log.info('DNS listens');
  } catch (err) {
    const code = errorCode(err as Error);
    // Told again only when it changes: the namespace comes a moment after the state.
    if (slot.error !== code) log.info({ code }, 'DNS cannot listen yet');
    slot.error = code;
  }
}

const errorCode = (err: Error): string => (err as NodeJS.ErrnoException).code ?? err.name;
