/** `skep verify`, `skep status`: what skep-dataplane says of this node's kernel. */
import { parseArgs } from 'node:util';
import { DataplaneClient } from '../dataplane/rpc/client.js';
import type { DataplaneStatus, VerifyReply } from '../dataplane/rpc/client.js';
import type { ExitCode, Terminal } from './command.js';
import { dataplaneSocket } from './paths.js';

/** Exit code 0: kernel equals state; 1: it differs, the differences are printed; 2: skep-dataplane cannot be asked. */
export const verify = (args: readonly string[], terminal: Terminal): Promise<ExitCode> =>
  ask(
    args,
    terminal,
    (client) => client.verify(),
    verifyLines,
    (reply) => reply.differences.length === 0,
  );

export const status = (args: readonly string[], terminal: Terminal): Promise<ExitCode> =>
  ask(
    args,
    terminal,
    (client) => client.status(),
    statusLines,
    (reply) => reply.lastError === '',
  );

export const verifyLines = ({ revision, differences }: VerifyReply): string[] =>
  differences.length === 0
    ? [
        revision === 0
          ? 'no state was set: the kernel holds nothing of ours'
          : `kernel equals state at revision ${revision}`,
      ]
    : [
        `kernel differs from state at revision ${revision}; a repair would make ${differences.length} change${differences.length === 1 ? '' : 's'}:`,
        ...differences.map((difference) => `  ${difference}`),
      ];

export const statusLines = (status: DataplaneStatus): string[] => [
  `balancer engine      ${status.engine || 'not known yet'}`,
  `desired revision     ${status.desiredRevision === 0 ? 'none' : status.desiredRevision}`,
  `programmed revision  ${status.programmedRevision === 0 ? 'none' : status.programmedRevision}`,
  `drift repaired       ${status.driftRepairs} operations`,
  `last error           ${status.lastError || 'none'}`,
];

async function ask<Reply>(
  args: readonly string[],
  { out, err, env }: Terminal,
  call: (client: DataplaneClient) => Promise<Reply>,
  lines: (reply: Reply) => string[],
  isGood: (reply: Reply) => boolean,
): Promise<ExitCode> {
  const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean', default: false } } });
  const socketPath = dataplaneSocket(env);
  const client = new DataplaneClient(socketPath);
  try {
    const reply = await call(client);
    for (const line of values.json ? [JSON.stringify(reply)] : lines(reply)) out(line);
    return isGood(reply) ? 0 : 1;
  } catch (cause) {
    err(
      `skep-dataplane at ${socketPath} gives no answer: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
    return 2;
  } finally {
    client.close();
  }
}
