/** The tasks of a service as the stock docker CLI tells of them: what the demo and the tests compare answers with. */
import type { Lab } from './lab.js';
import { mustExec } from './swarm.js';

/** A task of which the API says that it runs. */
export interface RunningTask {
  readonly id: string;
  /** `SERVICE.SLOT`, as `docker service ps` shows it. */
  readonly name: string;
  readonly nodeId: string;
  readonly nodeName: string;
  readonly containerId: string;
  /** Its address on each network, without the prefix length. */
  readonly addresses: Readonly<Record<string, string>>;
}

interface ApiTask {
  readonly ID: string;
  readonly Slot?: number;
  readonly NodeID?: string;
  readonly DesiredState: string;
  readonly Status: { readonly State: string; readonly ContainerStatus?: { readonly ContainerID?: string } };
  readonly NetworksAttachments?: ReadonlyArray<{
    readonly Network: { readonly Spec: { readonly Name: string } };
    readonly Addresses?: readonly string[];
  }>;
}

interface ApiNode {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
}

/** The running tasks of `service`, asked of a manager. Throws OutsideError with the CLI's words, also when there is no such service. */
export async function observeTasks(lab: Lab, manager: string, service: string): Promise<RunningTask[]> {
  const inspect = (kind: string, ids: readonly string[]): Promise<string> =>
    ids.length === 0 ? Promise.resolve('[]') : mustExec(lab, manager, ['docker', ...kind.split(' '), ...ids]);
  const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');
  const taskIds = words(
    await mustExec(lab, manager, [
      'docker',
      'service',
      'ps',
      '-q',
      '--no-trunc',
      '-f',
      'desired-state=running',
      service,
    ]),
  );
  const tasks = JSON.parse(await inspect('inspect --type task', taskIds)) as ApiTask[];
  const running = tasks.filter((task) => task.Status.State === 'running' && task.DesiredState === 'running');
  const nodeIds = [...new Set(running.map((task) => task.NodeID ?? ''))];
  const nodes = JSON.parse(await inspect('node inspect', nodeIds)) as ApiNode[];
  return running.map((task) => ({
    id: task.ID,
    name: `${service}.${task.Slot ?? 0}`,
    nodeId: task.NodeID ?? '',
    nodeName: nodes.find((node) => node.ID === task.NodeID)?.Description.Hostname ?? '',
    containerId: task.Status.ContainerStatus?.ContainerID ?? '',
    addresses: Object.fromEntries(
      (task.NetworksAttachments ?? []).map(({ Network, Addresses }) => [
        Network.Spec.Name,
        Addresses?.[0]?.split('/')[0] ?? '',
      ]),
    ),
  }));
}
