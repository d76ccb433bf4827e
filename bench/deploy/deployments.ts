/** What users deploy, and how long that takes until its tasks run, as the API of the manager that was asked tells it. */
import type { Kernel } from '../../src/lab/kernels.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { runningTasks } from '../harness/running.js';

/** It ends when it is told to, so that stopping takes no grace period. */
const image = 'skep/nginx:lab';
/** A guest starts a container in four seconds of its processor; what each costs does not depend on how many there are. */
const replicasOf: Readonly<Record<Kernel, number>> = { host: 30, uml: 12, qemu: 12 };
const stackServices = 10;
const manager = 'node1';
const stackFile = '/tmp/bench-stack.yml';
const deadlineMs = 900_000;

/** One thing that a user does. */
export interface Deployment {
  readonly name: string;
  /** In the manager's shell. */
  readonly command: string;
  /** How many tasks run when it is done. */
  readonly running: number;
}

/** In this order, each from what the one before has left. */
export function deploymentsOn(kernel: Kernel): readonly Deployment[] {
  const replicas = replicasOf[kernel];
  return [
    {
      name: `create ${replicas} replicas`,
      command: `docker service create -d --no-resolve-image --name many --replicas ${replicas} ${image}`,
      running: replicas,
    },
    { name: `scale ${replicas} to 1`, command: 'docker service scale -d many=1', running: 1 },
    {
      name: `scale 1 to ${replicas}`,
      command: `docker service scale -d many=${replicas}`,
      running: replicas,
    },
  ];
}

export const stack: Deployment = {
  name: `stack of ${stackServices} services`,
  command: `docker stack deploy --resolve-image never -c ${stackFile} bench`,
  running: stackServices,
};

/** Puts the stack's file where its deployment looks for it. */
export async function prepare(lab: ManagedLab): Promise<void> {
  const services = Array.from({ length: stackServices }, (_, at) => `  service${at}:\n    image: ${image}\n`);
  await lab.sh(manager, `cat >${stackFile} <<'END'\nversion: "3.8"\nservices:\n${services.join('')}END`);
}

/** Does it and waits until as many tasks run as are to. @returns milliseconds by the node's clock */
export async function deploy(lab: ManagedLab, { command, running }: Deployment): Promise<number> {
  const began = 'began=$(date +%s%N)';
  const took = 'echo $((($(date +%s%N) - began) / 1000000))';
  const script = `${began}; ${command} >&2 || exit 1; ${runningTasks(lab, running)}; ${took}`;
  return Number(await lab.sh(manager, script, deadlineMs));
}

/** Removes all of it and waits until no node has a container of it, so that the next turn begins with idle machines. */
export async function clear(lab: ManagedLab): Promise<void> {
  await lab.sh(
    manager,
    'docker service ls -q | xargs -r docker service rm; docker network ls -q --filter label=com.docker.stack.namespace=bench | xargs -r docker network rm',
  );
  await Promise.all(lab.nodes.map((node) => lab.until(node, 'ps -q', (output) => output === '', deadlineMs)));
}
