/**
 * A node in QEMU, on Debian 12's stock kernel: one process is its machine, two file servers carry its root and its logs, taps
 * are its wires, and a relay leads to its agent. All but the relay are one session, which `kill` ends.
 */
import { rmSync } from 'node:fs';
import type { LabPaths, NodeLayout } from './layout.js';
import { createNodeDirs, killSession, nodeEnvironment, startDetached, startRelay } from './machine.js';
import { machinePid, tapLines, writePid } from './machine.js';
import type { MachineKind } from './machine.js';
import { fileServerCommand, fileServerLock, guestCommand, qemu, virtiofsd } from './qemu.js';
import { inNamespace } from './switch.js';

/** Memory of a node; it takes from this machine only what it touches. */
const memoryMiB = 2048;

export const qemuMachine: MachineKind = {
  parts: [qemu, virtiofsd, '/dev/net/tun'],
  slowness: 5,
  portLines: tapLines,

  start: (boot) => {
    const { paths, node, checkout } = boot;
    createNodeDirs(node);
    removeSockets(node);
    const machine = startDetached(
      inNamespace(paths.switchNamespace, [
        ...['bash', `${checkout}/scripts/lab-machine-qemu.sh`],
        ...fileServerCommand(socketsOf(node).root, '/', 'auto'),
        '--',
        ...fileServerCommand(socketsOf(node).log, node.logs, 'auto'),
        '--',
        ...guestCommand({
          memoryMiB,
          init: `${checkout}/scripts/lab-node-qemu.sh`,
          environment: { ...nodeEnvironment(boot), SKEP_LAB_CONTROL: `${node.controlAddress}/24` },
          files: socketsOf(node),
          console: node.console,
          devices: [
            ...['-drive', `file=${node.disk},format=raw,if=virtio,cache=unsafe`],
            ...networkDevice('lab', node.port, node.mac),
            ...networkDevice('control', node.controlPort, node.controlMac),
          ],
        }),
      ]),
      node.console,
    );
    writePid(node, machine);
    startRelay(boot, machine);
    return Promise.resolve();
  },

  kill: async (_paths: LabPaths, node: NodeLayout) => {
    const pid = machinePid(node);
    if (pid !== undefined) await killSession(pid);
    rmSync(node.pidFile, { force: true });
    rmSync(node.agentSocket, { force: true });
    removeSockets(node);
  },
};

const socketsOf = (node: NodeLayout): { root: string; log: string } => ({
  root: `${node.dir}/root.sock`,
  log: `${node.dir}/log.sock`,
});

function removeSockets(node: NodeLayout): void {
  for (const socket of Object.values(socketsOf(node)))
    for (const path of [socket, fileServerLock(socket)]) rmSync(path, { force: true });
}

const networkDevice = (id: string, tap: string, mac: string): string[] => [
  ...['-netdev', `tap,id=${id},ifname=${tap},script=no,downscript=no`],
  ...['-device', `virtio-net-pci,netdev=${id},mac=${mac}`],
];
