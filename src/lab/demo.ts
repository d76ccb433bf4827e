/**
 * `npm run demo`: a three-node lab on this machine's own kernel, a published service made with the stock docker CLI, calls from
 * outside through every node.
 * Prints every docker command before it runs it, then what each answer saw, and leaves the cluster running.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { skep } from '../cli/commands.js';
import { complaintOf, printComplaint } from '../cli/complaint.js';
import { progressLine } from '../cli/progress.js';
import { OutsideError } from '../model/errors.js';
import { Lab } from './lab.js';
import { clientAddress } from './layout.js';
import { joinCommand, mustExec } from './swarm.js';
import { observeTasks } from './tasks.js';
import type { RunningTask } from './tasks.js';

const labName = 'demo';
const image = 'skep/whoami:lab';
const port = 8080;
const callsPerNode = 6;
const commandDeadlineMs = 180_000;
const convergeDeadlineMs = 120_000;

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** Shows a docker command as a user would type it, runs it in the node, shows what it printed. */
async function docker(lab: Lab, node: string, command: readonly string[]): Promise<void> {
  print(`\n${node}$ ${command.join(' ')}`);
  // Without a terminal the CLI repeats its progress line for every event; the repetitions say nothing.
  const lines = (await mustExec(lab, node, command, commandDeadlineMs)).trimEnd().split('\n');
  print(lines.filter((line, index) => line !== lines[index - 1]).join('\n'));
}

async function demo(): Promise<void> {
  if (await Lab.down(labName)) print(`demo: the lab "${labName}" of an earlier run is gone`);
  const startedMs = Date.now();
  const lab = await Lab.up({
    name: labName,
    nodes: 3,
    progress: (line) => print(progressLine(Date.now() - startedMs, line)),
  });
  const [first, ...others] = lab.nodes;
  if (!first) throw new OutsideError('the lab has no node', false);
  await docker(lab, first.name, ['docker', 'swarm', 'init', '--advertise-addr', first.address]);
  const join = await joinCommand(lab, first.name, 'worker');
  for (const node of others) await docker(lab, node.name, join);
  await docker(lab, first.name, ['docker', 'node', 'ls']);
  await docker(lab, first.name, ['docker', 'network', 'create', '-d', 'overlay', 'mynet']);
  await docker(lab, first.name, [
    ...['docker', 'service', 'create', '--name', 'web', '--network', 'mynet'],
    ...['--replicas', '3', '-p', `${port}:80`, image],
  ]);
  await docker(lab, first.name, ['docker', 'service', 'ps', 'web']);

  const tasks = await observeTasks(lab, first.name, 'web');
  print(`\nCalls from ${clientAddress}, a machine outside the cluster:`);
  for (const node of lab.nodes) {
    const url = `http://${node.address}:${port}/`;
    print(`\nclient$ curl ${url}   (${callsPerNode} times, through ${node.name})`);
    for (let call = 0; call < callsPerNode; call++)
      print(`  ${describe(await callFromClient(lab, url), tasks)}`);
  }
  print(`
The cluster keeps running. Talk to it:   bin/skep lab exec node1 --name ${labName} -- docker service ls
Call it from outside:                    bin/skep lab client --name ${labName} -- curl -s http://${first.address}:${port}/
End it, leaving nothing:                 bin/skep lab down --name ${labName}`);
}

/** One answer; asked again for a while, because a service converges a moment before the last node balances to it. */
async function callFromClient(lab: Lab, url: string): Promise<string> {
  const end = Date.now() + convergeDeadlineMs;
  for (;;) {
    const { exitCode, stdout, stderr } = await lab.client(['curl', '-sS', '-m', '5', url]);
    if (exitCode === 0) return stdout.trim();
    if (Date.now() >= end) throw new OutsideError(`${url}: ${stderr.trim()}`, false);
    await delay(500);
  }
}

/** The image answers `HOSTNAME CLIENT ADDRESS`; the host name of a container is the beginning of its id. */
function describe(answer: string, tasks: readonly RunningTask[]): string {
  const [hostname = '', client = ''] = answer.split(' ');
  const task = tasks.find(({ containerId }) => containerId.startsWith(hostname));
  if (!task) return `an unknown container ${hostname} saw client ${client}`;
  return `node ${task.nodeName}  task ${task.name} (${task.addresses['mynet'] ?? '?'})  saw client ${client}`;
}

demo().catch((err: unknown) => {
  const complaint = complaintOf(err, { ...skep, path: ['demo'] });
  printComplaint({ err: (line) => process.stderr.write(`${line}\n`) }, complaint, false);
  process.exitCode = 1;
});
