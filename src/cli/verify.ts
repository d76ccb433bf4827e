/**
 * `skep verify`, `skep status`: what skep-dataplane says of this node's kernel.
 *
 * What scripts may rely on: the exit codes, and of `skep verify --json` one line
 * `{"revision", "equal", "differences": [{"scope", "op", "object"}], "repaired"}`: the revision of the state that was compared;
 * whether the kernel equals it now; what differed when it was looked at, before the repair where one was asked for (scopes and
 * ops as in dataplane/difference.ts; the object is a text for people); how many operations the repair did.
 */
import { differenceLine } from '../dataplane/difference.js';
import type { DataplaneStatus, VerifyReply } from '../dataplane/rpc/client.js';
import { readCommandLine } from './arguments.js';
import type { ExitCode, Terminal } from './command.js';
import { commands } from './commands.js';
import { askDataplane } from './dataplane.js';
import { showProgress } from './progress.js';

/** A pass over a node of thousands of endpoints takes seconds, most take less than this. */
const patienceMs = 1_000;

/** Exit code 0: kernel equals state, after the repair where one was asked for; 1: it differs; 2: that cannot be told. */
export async function verify(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { repair, json, quiet } = readCommandLine(commands.verify, args).options;
  const reply = await askDataplane(terminal, async (client) => {
    using progress = showProgress(terminal, { quiet: quiet || json, patienceMs });
    progress.step(`skep-dataplane compares the kernel with the state${repair ? ', and repairs it' : ''}`);
    return await client.verify({ repair });
  });
  for (const line of json ? [verifyJson(reply)] : verifyLines(reply, repair)) terminal.out(line);
  return verifyExitCode(reply);
}

export async function status(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { json } = readCommandLine(commands.status, args).options;
  const reply = await askDataplane(terminal, (client) => client.status());
  for (const line of json ? [JSON.stringify(reply)] : statusLines(reply)) terminal.out(line);
  return reply.lastError === '' ? 0 : 1;
}

/** A namespace that cannot be read may be equal or not; one that is known to differ decides. */
export const verifyExitCode = ({ equal, differences }: VerifyReply): ExitCode => {
  if (equal) return 0;
  return differences.length > 0 && differences.every(({ op }) => op === 'unknown') ? 2 : 1;
};

export const verifyJson = ({ revision, equal, differences, repaired }: VerifyReply): string =>
  JSON.stringify({
    revision,
    equal,
    differences: differences.map(({ scope, op, object }) => ({ scope, op, object })),
    repaired,
  });

export function verifyLines(reply: VerifyReply, repair = false): string[] {
  const { revision, equal, differences, repaired } = reply;
  const found = differences.map((difference) => `  ${differenceLine(difference)}`);
  if (differences.length === 0)
    return [
      revision === 0
        ? 'no state was set: the kernel holds nothing of ours'
        : `kernel equals state at revision ${revision}`,
    ];
  if (!repair)
    return [
      `kernel differs from state at revision ${revision}; a repair would make ${changes(differences.length)}:`,
      ...found,
    ];
  const outcome = equal ? 'and equals it now' : 'and still does';
  return [
    `kernel differed from state at revision ${revision} ${outcome}; ${changes(repaired)} made of:`,
    ...found,
  ];
}

const changes = (count: number): string => `${count} change${count === 1 ? '' : 's'}`;

export const statusLines = (status: DataplaneStatus): string[] => [
  `balancer engine      ${status.engine || 'not known yet'}`,
  `desired revision     ${status.desiredRevision === 0 ? 'none' : status.desiredRevision}`,
  `programmed revision  ${status.programmedRevision === 0 ? 'none' : status.programmedRevision}`,
  `drift repaired       ${status.driftRepairs} operations`,
  `silent nodes         ${status.silentNodes.join(', ') || 'none'}`,
  `last error           ${status.lastError || 'none'}`,
];
