/** `skep lab up --init`: makes a swarm of a lab's nodes with the stock docker CLI, as a user would by hand. */
import type { Advice } from '../model/errors.js';
import { OutsideError } from '../model/errors.js';
import type { Lab } from './lab.js';

const commandDeadlineMs = 60_000;

const advice: Advice = {
  means: 'The lab is up, and its nodes are no whole swarm: this command in a node did not do what it is for.',
  todo: '"skep lab logs" with the name of the node says what its daemons said. Go on by hand with "skep lab exec", or end the lab: "skep lab down".',
};

/** Runs a command in a node; returns its standard output, throws OutsideError with its words when it fails. */
export async function mustExec(
  lab: Lab,
  node: string,
  argv: readonly string[],
  deadlineMs = commandDeadlineMs,
): Promise<string> {
  const { exitCode, stdout, stderr } = await lab.exec(node, argv, { deadlineMs });
  if (exitCode !== 0)
    throw new OutsideError(
      `${node}: ${argv.join(' ')}: exit ${exitCode}: ${(stderr || stdout).trim()}`,
      false,
      { advice },
    );
  return stdout;
}

/** The command `docker swarm join-token ROLE` prints. */
export async function joinCommand(
  lab: Lab,
  manager: string,
  role: 'manager' | 'worker',
  dockerHost?: string,
): Promise<string[]> {
  const printed = await mustExec(lab, manager, [...cli(dockerHost), 'swarm', 'join-token', role]);
  const words = /^\s*docker (swarm join --token \S+ \S+)\s*$/m.exec(printed)?.[1];
  if (words === undefined)
    throw new OutsideError(`no join command in ${JSON.stringify(printed)}`, false, { advice });
  return [...cli(dockerHost), ...words.split(' ')];
}

const cli = (dockerHost: string | undefined): string[] => [
  'docker',
  ...(dockerHost === undefined ? [] : ['-H', dockerHost]),
];

/**
 * Initialises the swarm on the first node and joins the others, the first `managers` of all as managers.
 * @param dockerHost where the CLI turns to in a node, when that is not Skep
 */
export async function initSwarm(
  lab: Lab,
  managers: number,
  progress: (line: string) => void,
  dockerHost?: string,
): Promise<void> {
  const [first, ...others] = lab.nodes;
  if (!first) return;
  await mustExec(lab, first.name, [...cli(dockerHost), 'swarm', 'init', '--advertise-addr', first.address]);
  progress(`${first.name}: swarm initialised`);
  // Managers one after the other: each changes the membership of the store.
  const joinManager = managers > 1 ? await joinCommand(lab, first.name, 'manager', dockerHost) : [];
  for (const node of others.slice(0, managers - 1)) {
    await mustExec(lab, node.name, joinManager);
    progress(`${node.name}: joined as a manager`);
  }
  const workers = others.slice(managers - 1);
  const joinWorker = workers.length > 0 ? await joinCommand(lab, first.name, 'worker', dockerHost) : [];
  await Promise.all(
    workers.map(async (node) => {
      await mustExec(lab, node.name, joinWorker);
      progress(`${node.name}: joined as a worker`);
    }),
  );
}
