/** `skep __complete`: what a word can be that no table says, for the scripts of the shells. A key press waits for it, so it loads little. */
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { readCommandLine } from '../arguments.js';
import type { ExitCode, Terminal } from '../command.js';
import { commands } from '../commands.js';
import { apiSocket } from '../paths.js';

/** Longer than this nobody waits for a key. */
const servicesMs = 1_000;

export async function complete(args: readonly string[], { out, env }: Terminal): Promise<ExitCode> {
  const { KIND, LAB = 'lab' } = readCommandLine(commands.__complete, args).arguments;
  for (const word of await candidates(KIND, LAB, env)) out(word);
  return 0;
}

async function candidates(
  kind: 'labs' | 'nodes' | 'services',
  lab: string,
  env: NodeJS.ProcessEnv,
): Promise<readonly string[]> {
  try {
    switch (kind) {
      case 'labs':
        return (await import('../../lab/lab-state.js')).labNames();
      case 'nodes':
        return (await import('../../lab/lab-state.js')).nodeNames(lab);
      case 'services':
        return await serviceNames(apiSocket(env));
    }
  } catch {
    // No code of labs (in a package), no lab of such a name, no daemon, no permission: nothing to offer, and a prompt is no place to say so.
    return [];
  }
}

/** As a manager has them; rejects for anything else. */
async function serviceNames(socketPath: string): Promise<string[]> {
  const reply = await new Promise<IncomingMessage>((resolve, reject) => {
    const signal = AbortSignal.timeout(servicesMs);
    request({ socketPath, path: '/services', signal }, resolve).once('error', reject).end();
  });
  const services = JSON.parse(await text(reply)) as { Spec: { Name: string } }[];
  return services.map(({ Spec }) => Spec.Name).sort();
}
