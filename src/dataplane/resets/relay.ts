/**
 * Ends at the task what its caller has ended (docs/adr/0022). A task behind a VIP answers its callers past the balancer. When
 * caller and node have forgotten the flow and the task speaks again, the caller's own TCP resets it; but the reset is
 * addressed to the VIP and belongs to no flow, so the node's stack gets it, and this socket a copy. It names no task, so each
 * task of the VIP is sent it: only the one that has the connection, and is at that sequence number, takes it.
 *
 * Whoever resets has been asked: no race and no second way (a call of a task's own address) can make this end a flow that
 * lives. While the daemon is away nothing is lost but time: a task that is not answered sends again.
 */
import { closeSync, statSync } from 'node:fs';
import { familyOf } from '../../model/addresses.js';
import type { NetworkId, Vni } from '../../model/ids.js';
import { Allowance } from '../../runtime/allowance.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { native } from '../../runtime/native.js';
import { bridgeName } from '../plan/names.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { parseReset, resetFilter, resetFrame, tcpProtocol } from './reset.js';

/** Copies of one node, and resets looked at, a second: a container can make as many resets as it likes. */
const perSecond = 2_000;

export interface ResetRelayOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** Path of an overlay's namespace. */
  readonly netnsPath: (vni: Vni) => string;
}

/** Both sockets in one overlay's namespace. */
interface Sockets {
  readonly received: { stop(): void };
  readonly sender: number;
  /** Of the namespace's file when they were opened: another number is another namespace. */
  readonly inode: number;
}

interface Slot {
  overlay: Overlay;
  sockets: Sockets | null;
  /** The errno's name of the last attempt. */
  error: string | null;
}

export class ResetRelay implements Disposable {
  readonly #slots = new Map<NetworkId, Slot>();
  readonly #allowance: Allowance;

  constructor(private readonly options: ResetRelayOptions) {
    this.#allowance = new Allowance(perSecond, options.clock);
  }

  /** Follows the state; overlays without VIPs need none of this. */
  setNetwork(state: NodeNetworkState | null): void {
    const wanted = new Map(
      (state?.overlays ?? []).filter(needsRelay).map((overlay) => [overlay.id, overlay] as const),
    );
    for (const [id, slot] of this.#slots) {
      if (wanted.get(id)?.vni === slot.overlay.vni) continue;
      close(slot);
      this.#slots.delete(id);
    }
    for (const [id, overlay] of wanted) {
      const slot = this.#slots.get(id);
      if (slot) slot.overlay = overlay;
      else this.#slots.set(id, { overlay, sockets: null, error: null });
    }
  }

  /** Opens what is not open, and anew what sits in a namespace that was replaced; true once all is. */
  async retry(): Promise<boolean> {
    let whole = true;
    for (const slot of this.#slots.values()) whole = this.#open(slot) && whole;
    return whole;
  }

  [Symbol.dispose](): void {
    this.setNetwork(null);
  }

  #open(slot: Slot): boolean {
    const { log, netnsPath } = this.options;
    const path = netnsPath(slot.overlay.vni);
    const inode = statSync(path, { throwIfNoEntry: false })?.ino ?? 0;
    if (slot.sockets?.inode === inode) return true;
    close(slot);
    try {
      const sender = native().openPacketSender(path, bridgeName);
      try {
        const received = native().poll(native().openRaw(path, tcpProtocol, resetFilter), (packet) => {
          // An error is of packets that came too fast; the next one is told again.
          if (packet) this.#relay(slot, sender, packet);
        });
        slot.sockets = { received, sender, inode };
      } catch (err) {
        closeSync(sender);
        throw err;
      }
      slot.error = null;
    } catch (err) {
      const code = codeOf(err);
      // Told again only when it changes: the namespace comes a moment after the state.
      if (slot.error !== code)
        log.debug({ overlay: slot.overlay.id, code }, 'resets cannot be passed on yet');
      slot.error = code;
    }
    return slot.sockets !== null;
  }

  #relay(slot: Slot, sender: number, packet: Buffer): void {
    const { overlay } = slot;
    const reset = parseReset(packet);
    if (reset === null || !this.#allowance.take(1)) return;
    const service = overlay.services.find(({ vip }) => vip === reset.destination);
    if (service === undefined) return;
    const tasks = overlay.endpoints.filter(({ serviceId }) => serviceId === service.id);
    if (!this.#allowance.take(tasks.length)) return;
    try {
      for (const { mac } of tasks) native().send(sender, resetFrame(reset, overlay.own.mac, mac));
    } catch (err) {
      // The bridge was replaced, perhaps. Whoever was not told says it again.
      this.options.log.debug({ overlay: overlay.id, code: codeOf(err) }, 'a reset was not passed on');
      close(slot);
    }
  }
}

/** Raw sockets of IPv6 give no header (raw(7), ipv6(7)), which says whom a reset was for: such overlays go without. */
const needsRelay = ({ ingress, services, subnet }: Overlay): boolean =>
  !ingress && familyOf(subnet) === 4 && services.some(({ vip }) => vip !== undefined);

function close(slot: Slot): void {
  slot.sockets?.received.stop();
  if (slot.sockets) closeSync(slot.sockets.sender);
  slot.sockets = null;
}

const codeOf = (err: unknown): string => (err as NodeJS.ErrnoException).code ?? String(err);
