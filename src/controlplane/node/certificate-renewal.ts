/**
 * Keeps a node's certificate valid: at a moment drawn between 50 and 80 % of its validity, so that a cluster's nodes do
 * not all come at once, it asks a manager for a new one, with the present one as its proof. A failure is tried again
 * after 5 s, doubling to an hour (Swarm's bounds); an expired certificate at once, and soon again: the node can do nothing else.
 */
import type { Clock } from '../../runtime/clock.js';
import { asError, decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import { renewAtMs, validityOf } from '../ca/certificates.js';
import type { NodeCertificate } from './node-certificate.js';

export interface RenewalOptions {
  readonly certificate: Pick<NodeCertificate, 'known' | 'subscribe'>;
  /** Gets, keeps and puts into use a new certificate. */
  readonly renew: () => Promise<unknown>;
  readonly clock: Clock;
  /** Numbers from 0 up to 1. */
  readonly draw: () => number;
  readonly log: Log;
}

const retryMsMin = 5_000;
const retryMsMax = 3_600_000;
const expiredRetryMsMax = 30_000;
/** Timers hold 24 days at most, and a host may sleep: look at the clock every hour. */
const lookMs = 3_600_000;

/** Runs until the signal aborts. */
export async function runCertificateRenewal(options: RenewalOptions, signal: AbortSignal): Promise<void> {
  const { certificate, clock, log, draw } = options;
  const changed = new Trigger();
  const unsubscribe = certificate.subscribe(changed.fire);
  let looked = '';
  let dueMs = 0;
  try {
    for (let failures = 0; !signal.aborted;) {
      const { certPem } = certificate.known();
      // Also one that somebody else has renewed: for another role, or of another root.
      if (certPem !== looked) {
        dueMs = renewAtMs(validityOf(certPem), draw);
        if (looked !== '') decide(log, 'certificate.renewed', { notAfterMs: validityOf(certPem).notAfterMs });
        looked = certPem;
        failures = 0;
      }
      const waitMs = dueMs - clock.nowMs();
      if (waitMs > 0) {
        await changed.wait(Math.min(waitMs, lookMs), clock, signal);
        continue;
      }
      try {
        await options.renew();
      } catch (err) {
        const isExpired = validityOf(certPem).notAfterMs <= clock.nowMs();
        const longestMs = isExpired ? expiredRetryMsMax : retryMsMax;
        const retryMs = Math.min(longestMs, retryMsMin * 2 ** Math.min(failures, 20));
        failures += 1;
        dueMs = clock.nowMs() + retryMs;
        decide(log, 'certificate.overdue', { err: asError(err), failures, retryMs, isExpired });
      }
    }
  } finally {
    unsubscribe();
  }
}
