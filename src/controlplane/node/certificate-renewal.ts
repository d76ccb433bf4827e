/**
 * Keeps a node's certificate valid: at a moment drawn between 50 and 80 % of its validity, so that a cluster's nodes do
 * not all come at once, it asks a manager for a new one, with the present one as its proof. A failure is tried again
 * after 5 s, doubling to an hour (Swarm's bounds); an expired certificate at once.
 */
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { renewAtMs, validityOf } from '../ca/certificates.js';
import type { NodeIdentity } from '../ca/node-identity.js';

export interface RenewalOptions {
  readonly identity: NodeIdentity;
  /** Gets, keeps and puts into use a new certificate. */
  readonly renew: (present: NodeIdentity) => Promise<NodeIdentity>;
  readonly clock: Clock;
  /** Numbers from 0 up to 1. */
  readonly draw: () => number;
  readonly log: Log;
}

const retryMsMin = 5_000;
const retryMsMax = 3_600_000;
/** Timers hold 24 days at most, and a host may sleep: look at the clock every hour. */
const lookMs = 3_600_000;

/** Runs until the signal aborts. */
export async function runCertificateRenewal(options: RenewalOptions, signal: AbortSignal): Promise<void> {
  const { clock, log, draw } = options;
  let { identity } = options;
  let dueMs = renewAtMs(validityOf(identity.certPem), draw);
  for (let failures = 0; !signal.aborted;) {
    const waitMs = dueMs - clock.nowMs();
    if (waitMs > 0) {
      await clock.sleep(Math.min(waitMs, lookMs), signal).catch(() => undefined);
      continue;
    }
    try {
      identity = await options.renew(identity);
      failures = 0;
      dueMs = renewAtMs(validityOf(identity.certPem), draw);
      log.info({ notAfterMs: validityOf(identity.certPem).notAfterMs }, 'certificate renewed');
    } catch (err) {
      const retryMs = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures, 20));
      failures += 1;
      dueMs = clock.nowMs() + retryMs;
      log.warn({ err, failures, retryMs }, 'cannot renew the certificate, will retry');
    }
  }
}
