/**
 * The way of a host into a swarm up to its certificate: which addresses it takes, whom it asks, how long it tries and how long
 * whoever asked for it waits.
 */
import { addressAndPort } from '../../model/addresses.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { late, within } from '../../runtime/deadline.js';
import type { Log } from '../../runtime/log.js';
import type { JoinRequest } from '../api/swarm-control.js';
import type { MembershipFile } from './membership-file.js';
import type { NodeAddresses } from './node-addresses.js';
import {
  defaultManagerPort,
  requireListenAddress,
  resolveAddresses,
  splitHostPort,
} from './node-addresses.js';
import type { NodeParts } from './node-parts.js';

/** How long the API waits for a join; Swarm's 20 s. */
const joinWaitMs = 20_000;
/** How often managers are looked for while somebody waits for a join, and the pause between (semantics 12.2). */
const joinTries = 5;
const joinRetryMs = 2_000;
const retryMsMax = 30_000;

const timeoutText =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.';

/** What a request to join says of this host and of managers. */
export interface JoinAddresses {
  readonly own: NodeAddresses;
  /** Of managers, `host:port`. */
  readonly remotes: readonly string[];
}

/** Refuses what cannot be meant, and a host whose address the user must choose. */
export async function resolveJoin(
  request: JoinRequest,
  parts: Pick<NodeParts, 'interfaces' | 'addressTowards'>,
): Promise<JoinAddresses> {
  requireListenAddress(request.listenAddr);
  if (request.remoteAddrs.includes(''))
    throw new SkepError('invalidArgument', 'invalid remoteAddr "": invalid empty address');
  const managers = request.remoteAddrs.map((text) => splitHostPort(text, defaultManagerPort));
  const [first] = managers;
  if (!first) throw new SkepError('invalidArgument', 'at least 1 RemoteAddr is required to join');
  const towards = await parts.addressTowards(first.host, first.port);
  return {
    own: resolveAddresses(request, parts.interfaces(), towards),
    remotes: managers.map(({ host, port }) => addressAndPort(host, port)),
  };
}

/** A first certificate: tries until a manager gives one or says no, or nobody is there while somebody still waits. */
export async function obtainCertificate(
  { parts, clock, log }: { parts: Pick<NodeParts, 'obtainCertificate'>; clock: Clock; log: Log },
  request: JoinRequest,
  { own, remotes }: JoinAddresses,
  signal: AbortSignal,
): Promise<MembershipFile> {
  const beganMs = clock.steadyMs();
  for (let failures = 1; ; failures++) {
    try {
      return await parts.obtainCertificate({ ...request, remoteAddrs: remotes }, own, signal);
    } catch (err) {
      if (signal.aborted) throw signal.reason;
      if (!(err instanceof OutsideError && err.retryable)) throw err;
      // Who still waits hears why; whoever was told of the background has a node that goes on trying.
      const isAwaited = clock.steadyMs() - beganMs < joinWaitMs;
      if (isAwaited && failures >= joinTries) throw unreachable(err);
      log.warn({ err, failures }, 'cannot reach a manager to join, will retry');
      await clock.sleep(isAwaited ? joinRetryMs : backoffMs(failures, retryMsMax), signal);
    }
  }
}

const unreachable = (err: OutsideError): SkepError =>
  new SkepError(
    'unavailable',
    `${err.message}: ${(err.cause as Error | undefined)?.message ?? 'no reason given'}`,
  );

/**
 * Waits for a join as long as Swarm's API does, and refuses with its words after that.
 * @param onFailure told why it failed when nobody waited for it any longer
 */
export async function awaitJoin(
  clock: Clock,
  joined: Promise<void>,
  onFailure: (err: unknown) => void,
): Promise<void> {
  if ((await within(clock, joinWaitMs, joined)) !== late) return;
  joined.catch(onFailure);
  throw new SkepError('unavailable', timeoutText);
}
