/**
 * A certificate authority outside of the swarm, spoken to as cfssl is (POST of JSON to its sign endpoint, mutual TLS with the
 * node's own certificate). Nothing that it answers is believed: whoever asks checks what the certificate is and who signed it.
 */
import { request } from 'node:https';
import { connect } from 'node:tls';
import { SkepError } from '../../model/errors.js';
import type { ExternalCa } from '../../model/objects.js';
import type { NodeIdentity } from './node-identity.js';

/** What is asked for; cfssl's names. */
export interface SigningOrder {
  readonly certificate_request: string;
  readonly hosts?: readonly string[];
  readonly subject?: {
    readonly CN: string;
    readonly names: readonly { readonly O: string; readonly OU: string }[];
  };
  readonly profile?: string;
}

/** Swarm's. */
const timeoutMs = 5_000;
const replyBytesMax = 1024 * 1024;
/** The profile of cfssl's configuration that certifies CAs, as swarmkit names it. */
export const crossSignProfile = 'CA';

type Keys = Pick<NodeIdentity, 'certPem' | 'keyPem' | 'rootPem'>;

const tlsOf = ({ caCert }: ExternalCa, { certPem, keyPem, rootPem }: Keys) => ({
  ca: [rootPem, caCert].filter((pem) => pem !== ''),
  cert: certPem,
  key: keyPem,
  minVersion: 'TLSv1.2' as const,
});

const unavailable = (ca: ExternalCa, reason: string, cause?: unknown): SkepError =>
  new SkepError('unavailable', `external CA ${ca.url}: ${reason}`, { cause });

/** The certificate that it signed (PEM). Throws `unavailable` with its reason, or that it did not answer within 5 s. */
export async function signExternally(ca: ExternalCa, order: SigningOrder, keys: Keys): Promise<string> {
  const { status, text } = await post(ca, JSON.stringify(order), keys);
  let reply;
  try {
    reply = JSON.parse(text) as {
      readonly success?: boolean;
      readonly result?: { readonly certificate?: unknown } | null;
      readonly errors?: readonly { readonly message?: unknown }[] | null;
    };
  } catch (cause) {
    throw unavailable(ca, `answers ${status} and no JSON`, cause);
  }
  const certificate = reply?.result?.certificate;
  if (status === 200 && reply.success === true && typeof certificate === 'string') return certificate;
  const [error] = reply?.errors ?? [];
  throw unavailable(
    ca,
    typeof error?.message === 'string' ? error.message.slice(0, 500) : `answers ${status}`,
  );
}

function post(ca: ExternalCa, body: string, keys: Keys): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => reject(unavailable(ca, cause.message, cause));
    const call = request(
      ca.url,
      {
        ...tlsOf(ca, keys),
        method: 'POST',
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      },
      (reply) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        reply.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > replyBytesMax) call.destroy(new Error('answers more than 1 MiB'));
          else chunks.push(chunk);
        });
        reply.on('error', fail);
        reply.on('end', () =>
          resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    call.on('error', fail);
    call.end(body);
  });
}

/** Whether it can be spoken to at all: TLS with trust on both sides, within 5 s. */
export function isReachable(ca: ExternalCa, keys: Keys): Promise<boolean> {
  const url = URL.canParse(ca.url) ? new URL(ca.url) : undefined;
  if (url?.protocol !== 'https:') return Promise.resolve(false);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    const socket = connect({
      ...tlsOf(ca, keys),
      host,
      port: Number(url.port || 443),
      servername: serverName(host),
    });
    const end = (reached: boolean): void => {
      socket.destroy();
      resolve(reached);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('secureConnect', () => end(true));
    socket.once('error', () => end(false));
  });
}

/** TLS names no addresses. */
const serverName = (host: string): string => (/^[\d.]+$|:/.test(host) ? '' : host);
