/** One HTTP request to a daemon's socket, sent as it is written: no library that would mend it on the way. */
import { request } from 'node:http';

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

export interface Asked {
  readonly method: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** What has not been answered whole by then is kept as no answer. Swarm's own limit for joining is the longest. */
const answerMsMax = 25_000;

/** The text of an answer that did not come, as the connection ended while the request was still being sent. */
export const cutOff = 'cut off';

/** Rejects when nothing answers at all. */
export function ask(socketPath: string, { method, target, headers, body }: Asked): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const call = request({
      socketPath,
      method,
      path: target,
      agent: false,
      headers: {
        Host: 'docker',
        ...(body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }),
        ...headers,
      },
    });
    const timer = setTimeout(() => {
      resolve({ status: 0, headers: {}, text: 'no answer' });
      call.destroy();
    }, answerMsMax);
    call.on('error', (err: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      // An answer to what was not read to its end cuts what is still being sent.
      if (err.code === 'EPIPE') resolve({ status: 0, headers: {}, text: cutOff });
      else reject(err);
    });
    call.on('response', (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => chunks.push(chunk));
      const done = (): void => {
        clearTimeout(timer);
        resolve({
          status: reply.statusCode ?? 0,
          headers: Object.fromEntries(
            Object.entries(reply.headers).map(([name, value]) => [name, String(value)]),
          ),
          text: Buffer.concat(chunks).toString(),
        });
      };
      reply.on('end', done);
      reply.on('error', done);
    });
    call.end(body);
  });
}
