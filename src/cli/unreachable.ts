/** A daemon that gives no answer: what its socket says of why, and what a user does about it. */
import { connect } from 'node:net';
import type { Advice } from '../model/errors.js';
import { CommandError } from './command.js';
import type { ExitCode } from './command.js';

/** What connecting to a unix socket came to: `open`, or the errno's name. */
export type SocketState = 'open' | (string & {});

const connectMs = 2_000;

/** Connects once, and hangs up. */
export function observeSocket(path: string): Promise<SocketState> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const answer = (state: SocketState): void => {
      socket.destroy();
      resolve(state);
    };
    socket.setTimeout(connectMs, () => answer('ETIMEDOUT'));
    socket.once('connect', () => answer('open'));
    socket.once('error', (cause: NodeJS.ErrnoException) => answer(cause.code ?? 'unknown'));
  });
}

/** One of the daemons, for sentences. */
export interface DaemonAt {
  readonly daemon: 'skepd' | 'skep-dataplane';
  readonly socketPath: string;
}

/** Goes on whatever becomes of the daemons. */
const goesOn = 'Containers and their connections go on as they were.';

/** @param message what the call failed with, for a socket that is open or fails in a way of its own */
export function unreachable(
  { daemon, socketPath }: DaemonAt,
  state: SocketState,
  message: string,
): { readonly what: string; readonly advice: Advice } {
  const what = (why: string): string => `${daemon} at ${socketPath} gives no answer: ${why}`;
  const look = `"journalctl -u ${daemon}" says what it said last`;
  switch (state) {
    case 'ENOENT':
      return {
        what: what('there is no such socket'),
        advice: {
          means: `${daemon} does not run on this host, or has its sockets elsewhere. ${goesOn}`,
          todo: `Start it: "systemctl start ${daemon}"; ${look}. If its sockets are elsewhere, set SKEP_RUN_DIR to their directory.`,
        },
      };
    case 'ECONNREFUSED':
      return {
        what: what('nobody listens'),
        advice: {
          means: `${daemon} has ended and left its socket behind. ${goesOn}`,
          todo: `Start it: "systemctl start ${daemon}"; ${look}.`,
        },
      };
    case 'EACCES':
    case 'EPERM':
      return {
        what: what('permission denied'),
        advice: {
          means:
            daemon === 'skepd'
              ? 'The socket is for root and the group that SKEP_GROUP names (docker by default), and you are neither.'
              : 'The socket is for root alone.',
          todo: 'Run it as root, with sudo for instance.',
        },
      };
    case 'open':
      return {
        what: what(message),
        advice: {
          means: `${daemon} runs and did not answer this. ${goesOn}`,
          todo: `Try again in some seconds; ${look}.`,
        },
      };
    default:
      return {
        what: what(message),
        advice: {
          means: `The socket cannot be used (${state}), so that ${daemon} cannot be asked. ${goesOn}`,
          todo: `See whether it runs: "systemctl status ${daemon}"; ${look}.`,
        },
      };
  }
}

/** The error of a call that got no answer. */
export async function unreachableError(
  exitCode: ExitCode,
  at: DaemonAt,
  cause: unknown,
): Promise<CommandError> {
  const message = cause instanceof Error ? cause.message : String(cause);
  const { what, advice } = unreachable(at, await observeSocket(at.socketPath), message);
  return new CommandError(exitCode, what, advice, { cause });
}
