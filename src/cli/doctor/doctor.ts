/** `skep doctor`: can this kernel and engine run Skep, and if not, the one command that mends it. */
import { parseArgs } from 'node:util';
import type { ExitCode, Terminal } from '../command.js';
import { engineAddress } from '../paths.js';
import { diagnose } from './diagnosis.js';
import { kernelHasModules, probeHost } from './probes.js';

/** Exit code 0: all is there; 1: something is missing. */
export async function doctor(args: readonly string[], { out, env }: Terminal): Promise<ExitCode> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean', default: false } } });
  const findings = await probeHost(engineAddress(env));
  const { healthy, lines, command } = diagnose(findings, await kernelHasModules());
  if (values.json) out(JSON.stringify({ healthy, command, checks: findings }));
  else {
    for (const line of lines) out(line);
    if (healthy) out('This host can run Skep.');
    else out(command ? `To mend it: ${command}` : 'No command mends this.');
  }
  return healthy ? 0 : 1;
}
