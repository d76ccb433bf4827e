import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import type { NodeIdentity } from '../../../src/controlplane/ca/node-identity.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import { runCertificateRenewal } from '../../../src/controlplane/node/certificate-renewal.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { Clock } from '../../../src/runtime/clock.js';

const hourMs = 3_600_000;
const startMs = Date.parse('2026-01-01T00:00:00Z');

/** A clock that jumps to the end of every sleep. */
class JumpingClock implements Clock {
  #nowMs = startMs;
  nowMs = (): number => this.#nowMs;
  steadyMs = (): number => this.#nowMs;
  sleep = async (delayMs: number): Promise<void> => {
    this.#nowMs += delayMs;
  };
}

test('renews between half and four fifths of the validity, and again after failures', async () => {
  const clock = new JumpingClock();
  const rootCa = await createRootCa(startMs);
  const issue = async (): Promise<NodeIdentity> => {
    const { csrPem, keyPem } = await createCsr();
    const certPem = await issueNodeCertificate({
      rootCa,
      csrPem,
      nodeId: 'n'.repeat(25) as NodeId,
      role: 'worker',
      clusterId: 'c'.repeat(25) as ClusterId,
      nowMs: clock.nowMs(),
      validMs: 99 * hourMs, // and one hour back: 100 in all
    });
    return identityFromPem(certPem, keyPem, rootCa.certPem);
  };
  const stop = new AbortController();
  const triedAtHours: number[] = [];
  let current = await issue();
  await runCertificateRenewal(
    {
      certificate: { known: () => current, subscribe: () => () => undefined },
      renew: async () => {
        triedAtHours.push((clock.nowMs() - startMs) / hourMs);
        if (triedAtHours.length <= 2) throw new Error('no manager answers');
        if (triedAtHours.length === 4) stop.abort();
        current = await issue();
      },
      clock,
      draw: () => 0.5,
      log: pino({ level: 'silent' }),
    },
    stop.signal,
  );
  const seconds = 1 / 3600;
  // 65 % of 100 hours from an hour before the start; 5 s and 10 s later; then 65 % of the new one's.
  expect(triedAtHours.map((hours) => hours.toFixed(4))).toEqual(
    [64, 64 + 5 * seconds, 64 + 15 * seconds, 128 + 15 * seconds].map((hours) => hours.toFixed(4)),
  );
});
