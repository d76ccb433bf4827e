/**
 * Whether this kernel has what encrypted overlays need: a state, a policy and rules like ours are made in a namespace that goes
 * with the probe. The kernel loads what modules it has for that, as it would for a real one.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ip } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { SecretBytes } from '../../model/secret-bytes.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { native } from '../../runtime/native.js';
import { Xfrm } from '../netlink/xfrm.js';
import { planGuard } from '../plan/esp.js';
import { espReceiveReqid } from '../plan/names.js';
import { EspObjects } from './esp-objects.js';

/**
 * Of documentation (RFC 5737): nobody has them. The question is asked before the node has a VTEP; a kernel that has ESP for one
 * family alone is met by whoever programs it.
 */
const source = '192.0.2.1' as Ip;
const destination = '192.0.2.2' as Ip;

/** A kernel that has no ESP is asked again after this long: its modules may have come meanwhile. */
const askAgainMs = 10_000;

/** The kernel's answer, remembered: for good when it is yes. */
export class EspCapability {
  #last: { readonly askedAtMs: number; readonly answer: Promise<boolean> } | null = null;

  /** @param probe rejects with the kernel's refusal */
  constructor(
    private readonly clock: Pick<Clock, 'nowMs'>,
    private readonly log: Log,
    private readonly probe: () => Promise<void> = tryEsp,
  ) {}

  has(): Promise<boolean> {
    const nowMs = this.clock.nowMs();
    if (this.#last === null || nowMs - this.#last.askedAtMs >= askAgainMs) {
      const answer = this.probe().then(
        () => true,
        (err: unknown) => {
          this.log.debug({ err }, 'this kernel cannot encrypt networks');
          return false;
        },
      );
      this.#last = { askedAtMs: nowMs, answer };
      void answer.then((found) => found && (this.#last = { askedAtMs: Infinity, answer }));
    }
    return this.#last.answer;
  }
}

/** @param directory of named namespaces, where one is made and removed. Rejects with the kernel's refusal. */
export async function tryEsp(directory = '/run/netns'): Promise<void> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, `skep-esp-probe-${process.pid}`);
  native().deleteNetns(path);
  native().createNetns(path);
  try {
    using xfrm = new Xfrm(path);
    const state = { source, destination, spi: 256, reqid: espReceiveReqid };
    await xfrm.addState({ ...state, keyAndSalt: new SecretBytes(new Uint8Array(20)) });
    const action = { kind: 'protect', reqid: espReceiveReqid } as const;
    await xfrm.addPolicy({ direction: 'in', source: null, destination, port: 4790, priority: 1, action });
    using objects = new EspObjects(path);
    await objects.apply(planGuard(familyOf(destination), 4790).map((object) => ({ op: 'add', object })));
  } finally {
    native().deleteNetns(path);
  }
}
