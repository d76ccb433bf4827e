/**
 * TCP for clients that show a certificate: TLS 1.2 or newer, and nobody gets as far as HTTP whose certificate is not of the
 * given CA. The files are looked at again every few seconds: a renewed certificate, or another CA, holds for connections made
 * from then on. There are no session tickets, which would outlast a CA that is replaced.
 */
import { readFile } from 'node:fs/promises';
import { constants } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { createSecureContext, createServer } from 'node:tls';
import type { SecureContextOptions, Server } from 'node:tls';
import { OutsideError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { ListenAddress } from '../../options/listen-address.js';
import type { TlsFiles } from './listen-settings.js';

const handshakeMsMax = 10_000;
/** Renewals happen days before they must. */
const lookEveryMs = 10_000;

export interface TlsListenerOptions {
  readonly files: TlsFiles;
  readonly at: ListenAddress;
  /** Most connections at once. */
  readonly connectionsMax: number;
  readonly onConnection: (socket: Duplex) => void;
  readonly clock: Pick<Clock, 'sleep'>;
  readonly log: Log;
}

export class TlsListener {
  readonly #stop = new AbortController();

  private constructor(
    private readonly server: Server,
    private readonly options: TlsListenerOptions,
    private loaded: SecureContextOptions,
  ) {
    void this.#follow();
  }

  /** Listens. Throws an OutsideError when a file cannot be used, or the address. */
  static async start(options: TlsListenerOptions): Promise<TlsListener> {
    const { at, log, connectionsMax } = options;
    const loaded = await load(options.files);
    const server = createServer({
      ...loaded,
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: handshakeMsMax,
      ALPNProtocols: ['http/1.1'],
    });
    server.maxConnections = connectionsMax;
    server.on('secureConnection', options.onConnection);
    server.on('tlsClientError', (err, socket) =>
      log.info({ err: err.message, peer: socket.remoteAddress }, 'TLS client refused'),
    );
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: Error) =>
        reject(
          new OutsideError(`cannot listen on ${at.host}:${at.port}: ${cause.message}`, false, { cause }),
        ),
      );
      server.listen({ host: at.host, port: at.port }, resolve);
    });
    log.info({ ...at, port: portOf(server) }, 'the API is served over TCP with TLS');
    return new TlsListener(server, options, loaded);
  }

  /** Where it listens, for port 0. */
  get port(): number {
    return portOf(this.server);
  }

  /** Takes over the files when they are others, and good. */
  async look(): Promise<void> {
    const { files, log } = this.options;
    try {
      const found = await load(files);
      if (found.ca === this.loaded.ca && found.cert === this.loaded.cert && found.key === this.loaded.key)
        return;
      this.server.setSecureContext(found);
      this.loaded = found;
      log.info({ files }, 'certificates of the API were read anew');
    } catch (err) {
      log.warn({ err }, 'certificates of the API cannot be read anew, those of before hold');
    }
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.options.clock.sleep(lookEveryMs, signal).catch(() => undefined);
      if (!signal.aborted) await this.look();
    }
  }

  /** Takes no more connections; those that are open are their owner's. */
  close(): void {
    this.#stop.abort(new Error('closed'));
    this.server.close();
  }
}

const portOf = (server: Server): number => {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
};

/** Reads the files; throws where they are not a certificate, its key and a CA. */
async function load({ ca, cert, key }: TlsFiles): Promise<SecureContextOptions> {
  const read = (path: string): Promise<string> =>
    readFile(path, 'utf8').catch((cause: unknown) => {
      throw new OutsideError(`cannot read ${path}: ${(cause as Error).message}`, false, { cause });
    });
  const [caPem, certPem, keyPem] = await Promise.all([read(ca), read(cert), read(key)]);
  const options = {
    ca: caPem,
    cert: certPem,
    key: keyPem,
    minVersion: 'TLSv1.2' as const,
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
  try {
    createSecureContext(options);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new OutsideError(
      `${cert}, ${key} and ${ca} are no certificate, its key and a CA: ${reason}`,
      false,
      {
        cause,
      },
    );
  }
  if (!caPem.includes('-----BEGIN CERTIFICATE-----'))
    throw new OutsideError(`${ca} has no certificate of a CA, by which clients are known`, false);
  return options;
}
