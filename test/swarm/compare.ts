/** One session with Skep and with Docker's own Swarm mode side by side, and what the two say to it word by word. */
import { expect } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import type { Said } from './session.js';
import { Session } from './session.js';

/**
 * @param commandsMin how many commands the session asks at least
 * @param intended where Skep says something else on purpose: the command, and what is other about it
 */
export async function compare(
  session: (over: Session) => Promise<void>,
  commandsMin: number,
  intended: Readonly<Record<string, string>> = {},
): Promise<void> {
  await using skep = await ManagedLab.create('skep', 'test-swarm-skep');
  await using swarm = await ManagedLab.create('swarm', 'test-swarm-swarm');
  const sessions = [new Session(skep), new Session(swarm)] as const;
  await Promise.all(sessions.map(session));
  const [ours, theirs] = sessions.map(({ transcript }) => comparable(transcript, intended));
  expect(theirs!.length).toBeGreaterThanOrEqual(commandsMin);
  expect(ours).toEqual(theirs);
}

/** The same words of both, sorted: rows come in the order of identifiers. */
const comparable = (transcript: readonly Said[], intended: Readonly<Record<string, string>>): Said[] =>
  transcript.map((said) => ({
    ...said,
    output:
      intended[said.asked] !== undefined && said.exitCode !== 0
        ? intended[said.asked]!
        : said.output.split('\n').sort().join('\n'),
  }));
