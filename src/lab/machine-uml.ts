/**
 * A node in user-mode Linux: one process is its kernel, taps are its wires, and a relay leads to its agent. `kill` finds all of
 * it: the kernel's process and those that carry its guests' memory.
 */
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import type { LabPaths, NodeLayout } from './layout.js';
import { createNodeDirs, killSession, machinePid, nodeEnvironment, startDetached } from './machine.js';
import { startRelay, tapLines, writePid } from './machine.js';
import type { Boot, MachineKind } from './machine.js';
import { inNamespace } from './switch.js';

/** Memory of a node; it takes from this machine only what it touches. */
const memoryMiB = 1536;
const umlKernel = '/usr/bin/linux.uml';

export const umlMachine: MachineKind = {
  parts: [umlKernel, '/usr/sbin/xtables-legacy-multi', '/dev/net/tun'],

  slowness: 1,
  portLines: tapLines,

  start: (boot) => {
    createNodeDirs(boot.node);
    const kernel = startDetached(
      inNamespace(boot.paths.switchNamespace, kernelCommand(boot)),
      boot.node.console,
    );
    writePid(boot.node, kernel);
    startRelay(boot, kernel);
    return Promise.resolve();
  },

  kill: async (paths: LabPaths, node: NodeLayout) => {
    const pid = machinePid(node);
    if (pid !== undefined) await killSession(pid);
    rmSync(node.pidFile, { force: true });
    rmSync(node.agentSocket, { force: true });
    // The kernel would refuse a name whose pid file names a process that is dead but not yet waited for.
    rmSync(`${paths.uml}/${node.name}`, { recursive: true, force: true });
  },
};

const kernelCommand = (boot: Boot): string[] => {
  const { paths, node, checkout } = boot;
  return [
    ...['taskset', '-c', String(nodeCpu(node.index, cpus().length))],
    umlKernel,
    ...['quiet', 'rootfstype=hostfs', 'rootflags=/', 'ro', `mem=${memoryMiB}M`],
    ...['con=null', 'con0=null,fd:1', `umid=${node.name}`, `uml_dir=${paths.uml}`],
    `init=${checkout}/scripts/lab-node-uml.sh`,
    `ubd0=${node.disk}`,
    // Without gro the guest drops the large frames of a fast sender on this machine.
    `vec0:transport=tap,ifname=${node.port},depth=128,gro=1,mac=${node.mac}`,
    `vec1:transport=tap,ifname=${node.controlPort},depth=128,gro=1,mac=${node.controlMac}`,
    `SKEP_LAB_CONTROL=${node.controlAddress}/24`,
    ...Object.entries(nodeEnvironment(boot)).map(([name, value]) => `${name}=${value}`),
  ];
};

/**
 * The processor a node is pinned to. A user-mode Linux kernel and the processes it runs alternate strictly, so on one
 * processor a system call costs half of what it costs across two. The first node (the first manager, with etcd)
 * gets the first processor alone where that can be.
 */
const nodeCpu = (index: number, cpuCount: number): number =>
  cpuCount < 2 || index === 1 ? 0 : 1 + ((index - 2) % (cpuCount - 1));
