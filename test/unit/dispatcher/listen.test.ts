import { ServerCredentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createRpcServer, listen } from '../../../src/controlplane/rpc/server.js';

const insecure = ServerCredentials.createInsecure();
const server = (): ReturnType<typeof createRpcServer> => createRpcServer([], pino({ enabled: false }));

test('an address that cannot be had is told in the words of Swarm’s daemon, which are Go’s', async () => {
  // Of TEST-NET-1: no host has it.
  await expect(listen(server(), '192.0.2.1:2377', insecure)).rejects.toMatchObject({
    message: 'listen tcp 192.0.2.1:2377: bind: cannot assign requested address',
    retryable: false,
  });
  const first = server();
  const port = await listen(first, '127.0.0.1:0', insecure);
  await expect(listen(server(), `127.0.0.1:${port}`, insecure)).rejects.toThrow(
    `listen tcp 127.0.0.1:${port}: bind: address already in use`,
  );
  first.forceShutdown();
});
