/** An engine that has nothing: what a node's daemons ask of one, over HTTP, answered as a host without containers does. */
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { once } from 'node:events';

const answers: Readonly<Record<string, unknown>> = {
  info: {
    ...{ Name: 'worker', Architecture: 'x86_64', OSType: 'linux', NCPU: 2, MemTotal: 2 ** 32 },
    ...{ ServerVersion: '20.10', Labels: [], Plugins: {} },
  },
  version: { ApiVersion: '1.41', MinAPIVersion: '1.12' },
  'containers/json': [],
  networks: [],
};

/** @param socket path of a unix socket. @returns ends it */
export async function serveSilentEngine(socket: string): Promise<() => Promise<void>> {
  const server = createServer((request, response) => {
    const path = /^(?:\/v[\d.]+)?\/([^?]*)/.exec(request.url ?? '')?.[1] ?? '';
    // Nothing ever happens there, and whatever it is asked to do takes for ever.
    if (request.method !== 'GET' && request.method !== 'HEAD') return;
    if (path === 'events') response.writeHead(200).flushHeaders();
    else reply(response, answers[path]);
  });
  server.listen(socket);
  await once(server, 'listening');
  return async () => {
    server.closeAllConnections();
    server.close();
  };
}

function reply(response: ServerResponse, answer: unknown): void {
  response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer ?? { message: 'no such thing' }));
}
