/** `skep doctor`: can this kernel and engine run Skep, and if not, the one command that mends it. */
import { readCommandLine } from '../arguments.js';
import type { ExitCode, Terminal } from '../command.js';
import { commands } from '../commands.js';
import { engineNames } from '../../dataplane/plan/balancing.js';
import { DataplaneClient } from '../../dataplane/rpc/client.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import { dataplaneSocket, engineAddress, hostOptions } from '../paths.js';
import { showProgress } from '../progress.js';
import type { Balancer, Findings } from './diagnosis.js';
import { balancerOf, diagnose } from './diagnosis.js';
import { kernelHasModules, probeHost } from './probes.js';

/** Exit code 0: all is there; 1: something is missing. */
export async function doctor(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { json, quiet } = readCommandLine(commands.doctor, args).options;
  const { out } = terminal;
  const [findings, balancer] = await examine(terminal, quiet || json);
  const { healthy, lines, command } = diagnose(findings, await kernelHasModules(), balancer);
  if (json) out(JSON.stringify({ healthy, command, balancer, checks: findings }));
  else {
    for (const line of lines) out(line);
    if (healthy) out('This host can run Skep.');
    else out(command ? `To mend it: ${command}` : 'No command mends this.');
  }
  return healthy ? 0 : 1;
}

/** Ends the progress, so that nothing of it is left above the answer. */
async function examine(terminal: Terminal, quiet: boolean): Promise<[Findings, Balancer]> {
  using progress = showProgress(terminal, { quiet });
  const { env } = terminal;
  const findings = await probeHost(engineAddress(env), progress.step);
  progress.step('asking skep-dataplane for its balancer');
  return [findings, (await balancerInUse(env)) ?? balancerOf(findings)];
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
