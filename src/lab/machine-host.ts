/**
 * A node on this machine's own kernel: a set of namespaces (scripts/lab-node-host.sh) with a veth into the switch, its image
 * loop-mounted inside, its agent on a unix socket. All its processes are in one cgroup of every hierarchy, so that
 * `kill` reaches them at once and finds them also when `up` was interrupted before it kept a pid.
 */
import { existsSync, rmSync } from 'node:fs';
import { createNodeGroups, groupMembers, killGroup, removeGroups } from './cgroups.js';
import { hostCommand, tryHostCommand } from './host-command.js';
import type { LabPaths, NodeLayout } from './layout.js';
import { createNodeDirs, nodeEnvironment, startDetached, untilGone, writePid } from './machine.js';
import type { MachineKind } from './machine.js';
import { networkNamespace } from './process-table.js';
import { inNamespace } from './switch.js';

export const hostMachine: MachineKind = {
  parts: ['/usr/sbin/losetup', '/dev/loop-control'],
  slowness: 1,

  // A veth pair ends with either of its ends, so the node makes its own when it starts.
  portLines: () => [],

  start: async (boot) => {
    const { paths, node, checkout } = boot;
    createNodeDirs(node);
    const groups = createNodeGroups(node.group);
    const pid = startDetached(
      inNamespace(paths.switchNamespace, ['bash', `${checkout}/scripts/lab-node-host.sh`]),
      node.console,
      {
        PATH: process.env['PATH'],
        TERM: 'linux',
        ...nodeEnvironment(boot),
        SKEP_LAB_DIR: node.dir,
        SKEP_LAB_DISK: node.disk,
        SKEP_LAB_SWITCH: paths.switchNamespace,
        SKEP_LAB_PORT: node.port,
        SKEP_LAB_MAC: node.mac,
        SKEP_LAB_GROUPS: groups.all.join(' '),
        SKEP_LAB_INIT_GROUP: groups.init,
      },
    );
    writePid(node, pid);
  },

  kill: async (paths: LabPaths, node: NodeLayout) => {
    // The link first: not one of the processes gets to say goodbye.
    await switchLink(paths, 'set', node.port, 'down');
    await forgetConnections(groupMembers(node.group));
    killGroup(node.group);
    await untilGone(`processes of ${node.name}`, () => groupMembers(node.group));
    await switchLink(paths, 'delete', node.port);
    // The mounts go with the last process, the loop device a moment after them.
    if (existsSync(node.disk))
      await untilGone(`loop devices of ${node.name}`, async () =>
        (await hostCommand(['losetup', '--noheadings', '--output', 'NAME', '--associated', node.disk]))
          .split('\n')
          .filter((line) => line !== ''),
      );
    // A process that was only about to enter them fails at that, and ends.
    await removeGroups(node.group);
    rmSync(node.pidFile, { force: true });
    rmSync(node.agentSocket, { force: true });
  },
};

/**
 * A connection outlives the process it belonged to, and the network namespace outlives the connection, until TCP gives up sending its
 * end to a peer that cannot hear it: minutes by default. A machine without power sends nothing more, so it is told to give up at once.
 */
async function forgetConnections(pids: readonly number[]): Promise<void> {
  const byNamespace = new Map(pids.map((pid) => [networkNamespace(pid), pid]));
  byNamespace.delete('');
  const script = 'echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries';
  for (const pid of byNamespace.values())
    // A process may end by itself meanwhile.
    await tryHostCommand(inNamespace(`/proc/${pid}/ns/net`, ['sh', '-c', script]));
}

/** `ip link` in the switch's namespace; a link or a namespace that is not there is fine. */
async function switchLink(paths: LabPaths, ...words: string[]): Promise<void> {
  await tryHostCommand(inNamespace(paths.switchNamespace, ['ip', 'link', ...words]));
}
