/** What Swarm refuses in a cluster's spec, at its making as at an update. */
import type { ClusterSpec } from './objects.js';

/** Certificates cannot be made to last less: renewal would not keep up. */
const minCertExpiryNs = 3600 * 1e9;

/** Swarm's words for what is wrong with the times; undefined where nothing is. Zero is the default. */
export function faultOfClusterTimes({
  nodeCertExpiryNs,
  heartbeatPeriodNs,
}: Pick<ClusterSpec, 'nodeCertExpiryNs' | 'heartbeatPeriodNs'>): string | undefined {
  if (nodeCertExpiryNs !== 0 && nodeCertExpiryNs < minCertExpiryNs)
    return 'minimum certificate expiry time is: 1h0m0s';
  if (heartbeatPeriodNs < 0) return 'heartbeat time period cannot be a negative duration';
  return undefined;
}
