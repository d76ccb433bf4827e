/**
 * The DNS server of this node's overlays. Follows the state: a listener per overlay, every answer from the one state held
 * at that moment, nothing answered before there is a state. Keeps answering from the last state whatever happens to the
 * managers.
 */
import { statSync } from 'node:fs';
import type { Ip } from '../../model/addresses.js';
import type { NetworkId, Vni } from '../../model/ids.js';
import type { Log } from '../../runtime/log.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import type { Forwarder } from './forwarder.js';
import { DnsListener } from './listener.js';
import { answerTtlS, resolve } from './resolve.js';
import { formatAnswer, formatFailure, parseQuery } from './wire.js';

const dnsPort = 53;
/** A TCP message's length has 16 bits. */
const tcpBytesMax = 65_535;

export interface DnsServerOptions {
  readonly log: Log;
  readonly forwarder: Pick<Forwarder, 'forward'>;
  /** Path of an overlay's namespace. */
  readonly netnsPath?: (vni: Vni) => string;
}

/** How it stands with one overlay; `error` is the errno's name of the last attempt. */
export interface DnsListenerStatus {
  readonly overlayId: NetworkId;
  readonly address: Ip;
  readonly listening: boolean;
  readonly error: string | null;
}

interface Slot {
  readonly overlay: Pick<Overlay, 'id' | 'vni'>;
  readonly address: Ip;
  listener: DnsListener | null;
  /** Of the namespace's file when the listener was opened: another number is another namespace. */
  inode: number;
  error: string | null;
}

export class DnsServer implements Disposable {
  readonly #slots = new Map<NetworkId, Slot>();
  readonly #netnsPath: (vni: Vni) => string;
  #state: NodeNetworkState | null = null;
  #rotation = 0;

  constructor(private readonly options: DnsServerOptions) {
    this.#netnsPath = options.netnsPath ?? ((vni) => `/run/netns/skep-${vni}`);
  }

  /** Answers from `state` from now on; closes the listeners of overlays that are gone and tries to open the others. */
  setState(state: NodeNetworkState): void {
    this.#state = state;
    const wanted = new Map(state.overlays.map((overlay) => [overlay.id, overlay]));
    for (const [id, slot] of this.#slots) {
      const overlay = wanted.get(id);
      if (overlay?.vni === slot.overlay.vni && overlay.own.address === slot.address) continue;
      slot.listener?.close();
      this.#slots.delete(id);
    }
    for (const { id, vni, own } of state.overlays)
      if (!this.#slots.has(id))
        this.#slots.set(id, {
          overlay: { id, vni },
          address: own.address,
          listener: null,
          inode: 0,
          error: null,
        });
    this.retry();
  }

  /** Opens what is not open and reopens what sits in a namespace that was replaced. Call after the kernel was programmed. */
  retry(): void {
    for (const slot of this.#slots.values()) this.#open(slot);
  }

  status(): DnsListenerStatus[] {
    return [...this.#slots.values()].map(({ overlay, address, listener, error }) => ({
      overlayId: overlay.id,
      address,
      listening: listener !== null,
      error,
    }));
  }

  /** Closes every listener. */
  [Symbol.dispose](): void {
    for (const slot of this.#slots.values()) slot.listener?.close();
    this.#slots.clear();
    this.#state = null;
  }

  #open(slot: Slot): void {
    const path = this.#netnsPath(slot.overlay.vni);
    const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
    if (slot.listener && slot.inode === inode) return;
    slot.listener?.close();
    slot.listener = null;
    const { id } = slot.overlay;
    const log = this.options.log.child({ overlay: id, address: slot.address });
    try {
      const listener = new DnsListener(
        path,
        slot.address,
        dnsPort,
        (message, from, transport) => this.#answer(id, message, from, transport),
        (err) => {
          if (slot.listener === listener) slot.listener = null;
          slot.error = errorCode(err);
          log.warn({ err }, 'DNS listener failed');
        },
      );
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

  async #answer(
    overlayId: NetworkId,
    message: Buffer,
    from: Ip,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | null> {
    const parsed = parseQuery(message);
    if (parsed.kind === 'drop' || !this.#state) return null;
    if (parsed.kind === 'refuse') return parsed.response;
    const { query } = parsed;
    if (query.question.class !== 'IN') return formatFailure(query, 'notImplemented');
    this.#rotation = (this.#rotation + 1) >>> 0;
    const resolution = resolve(query.question, { overlayId, address: from }, this.#state, this.#rotation);
    switch (resolution.kind) {
      case 'answer': {
        const bytesMax = transport === 'udp' ? query.udpBytes : tcpBytesMax;
        return formatAnswer(query, resolution.records, answerTtlS, bytesMax);
      }
      case 'isolated':
        return formatFailure(query, 'serverFailure');
      case 'forward':
        return this.options.forwarder.forward(query, transport);
    }
  }
}

const errorCode = (err: Error): string => (err as NodeJS.ErrnoException).code ?? err.name;
