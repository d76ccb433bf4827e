/** The name server of the world: on the machine outside, the only one that a lab's nodes know. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { clientAddress } from '../../src/lab/layout.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';

/** Every name below it has an address. */
export const zone = 'bench.test';
const address = '192.0.2.7';
const ttlS = 60;

/** Starts it, and names it in the nodes' resolv.conf(5), which engines read when a container starts. It ends with the scope. */
export async function startUpstream(lab: ManagedLab): Promise<AsyncDisposable> {
  const [command = '', ...args] = lab.clientCommand([
    ...[
      'nice',
      '-n',
      '-10',
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--pid-file',
      '--user=root',
    ],
    ...['--no-resolv', '--no-hosts', `--address=/${zone}/${address}`, `--local-ttl=${ttlS}`],
    ...['--bind-interfaces', `--listen-address=${clientAddress}`],
  ]);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  for (const node of lab.nodes) await lab.sh(node, `echo nameserver ${clientAddress} >/etc/resolv.conf`);
  return {
    async [Symbol.asyncDispose]() {
      child.kill();
      await ended;
    },
  };
}
