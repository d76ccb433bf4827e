/**
 * A network driver `skep` for tests of the agent alone: interfaces are veth ends that lead nowhere, but the engine treats
 * them as it treats the real ones. The IPAM half is the product's.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ipamDriver } from '../../src/dataplane/plugin/ipam-driver.js';
import type { TestDockerd } from './agent-dockerd.js';

const run = promisify(execFile);

export interface TestPlugin {
  /** Methods called, in order. */
  readonly calls: string[];
  /** How often one was refused to join. */
  readonly refusals: number;
  /** From now on no container joins, for this reason; null: it does. */
  refuse(reason: string | null): void;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startPlugin(dockerd: TestDockerd): Promise<TestPlugin> {
  const calls: string[] = [];
  let refusal: string | null = null;
  let refusals = 0;
  const answer = async (method: string, request: Record<string, unknown>): Promise<object> => {
    const ipam = ipamDriver[method];
    if (ipam) return ipam(request);
    switch (method) {
      case 'Plugin.Activate':
        return { Implements: ['NetworkDriver', 'IpamDriver'] };
      case 'NetworkDriver.GetCapabilities':
        return { Scope: 'local', ConnectivityScope: 'global' };
      case 'NetworkDriver.CreateEndpoint': {
        const octets = String(request['EndpointID']).slice(0, 10).match(/../g) ?? [];
        return { Interface: { MacAddress: ['02', ...octets].join(':') } };
      }
      case 'NetworkDriver.Join': {
        if (refusal !== null) {
          refusals += 1;
          throw new Error(refusal);
        }
        const id = String(request['EndpointID']).slice(0, 10);
        const name = `skc${id}`;
        const link = ['link', 'add', name, 'type', 'veth', 'peer', 'name', `skp${id}`];
        await run('nsenter', ['-t', String(dockerd.pid), '-n', 'ip', ...link]);
        return { InterfaceName: { SrcName: name, DstPrefix: 'eth' } };
      }
      default:
        return {};
    }
  };
  const server = createServer((request, response) => {
    const method = (request.url ?? '').slice(1);
    calls.push(method);
    void body(request)
      .then((parsed) => answer(method, parsed))
      .catch((err: unknown) => ({ Err: String(err) }))
      .then((reply) => {
        response.setHeader('Content-Type', 'application/vnd.docker.plugins.v1.1+json');
        response.end(JSON.stringify(reply));
      });
  });
  server.listen(join(dockerd.pluginDir, 'skep.sock'));
  await once(server, 'listening');
  return {
    calls,
    get refusals() {
      return refusals;
    },
    refuse: (reason) => void (refusal = reason),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function body(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
}
