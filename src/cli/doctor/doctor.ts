/** `skep doctor`: can this kernel and engine run Skep, and if not, the one command that mends it. */
import { parseArgs } from 'node:util';
import type { ExitCode, Terminal } from '../command.js';
import { engineNames } from '../../dataplane/plan/balancing.js';
import { DataplaneClient } from '../../dataplane/rpc/client.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import { dataplaneSocket, engineAddress, hostOptions } from '../paths.js';
import type { Balancer } from './diagnosis.js';
import { balancerOf, diagnose } from './diagnosis.js';
import { kernelHasModules, probeHost } from './probes.js';

/** Exit code 0: all is there; 1: something is missing. */
export async function doctor(args: readonly string[], { out, env }: Terminal): Promise<ExitCode> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean', default: false } } });
  const findings = await probeHost(engineAddress(env));
  const balancer = (await balancerInUse(env)) ?? balancerOf(findings);
  const { healthy, lines, command } = diagnose(findings, await kernelHasModules(), balancer);
  if (values.json) out(JSON.stringify({ healthy, command, balancer, checks: findings }));
  else {
    for (const line of lines) out(line);
    if (healthy) out('This host can run Skep.');
    else out(command ? `To mend it: ${command}` : 'No command mends this.');
  }
  return healthy ? 0 : 1;
}

/** What runs here, else what the host's options ask for; undefined: neither says anything. */
async function balancerInUse(env: NodeJS.ProcessEnv): Promise<Balancer | undefined> {
  const named = (text: string | undefined): Balancer['name'] | undefined =>
    engineNames.find((name) => name === text);
  const client = new DataplaneClient(dataplaneSocket(env));
  try {
    const name = named((await client.status(AbortSignal.timeout(2_000))).engine);
    if (name) return { name, from: 'skep-dataplane' };
  } catch (err) {
    const isAway = err instanceof OutsideError || err instanceof SkepError;
    if (!isAway && !(err instanceof DOMException)) throw err;
  } finally {
    client.close();
  }
  const name = named(hostOptions(env)['balancer.engine']);
  return name ? { name, from: 'configuration' } : undefined;
}
