/**
 * The lab's network: a bridge in a namespace of its own with a port per node and a veth to the client's namespace, and beside
 * it the control bridge for the agents of nodes with kernels of their own. Nothing of it is in this machine's own namespace; the two namespaces are
 * files below the lab's run directory, not below /run/netns, so that `ip netns` neither shows nor needs them.
 * A cut drops frames between two ports, both ways, in ebtables of that namespace: the nodes see silence, not a link down.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostCommand, tryHostCommand } from './host-command.js';
import { clientAddress, relayAddress } from './layout.js';
import type { LabPaths } from './layout.js';

/** `argv` run inside the network namespace kept in `namespace`. */
export const inNamespace = (namespace: string, argv: readonly string[]): string[] => [
  'nsenter',
  `--net=${namespace}`,
  '--',
  ...argv,
];

/** A batch for `ip -batch -`, in one process. */
async function ipBatch(namespace: string, lines: readonly string[]): Promise<void> {
  await hostCommand(inNamespace(namespace, ['ip', '-batch', '-']), { input: `${lines.join('\n')}\n` });
}

async function createNamespace(path: string): Promise<void> {
  writeFileSync(path, '');
  await hostCommand(['unshare', `--net=${path}`, 'true']);
}

/** Builds the network, with what `portLines` (for `ip -batch`) add to it; the namespaces must not exist yet. */
export async function createSwitch(paths: LabPaths, portLines: readonly string[]): Promise<void> {
  mkdirSync(paths.run, { recursive: true });
  await createNamespace(paths.switchNamespace);
  await createNamespace(paths.clientNamespace);
  await ipBatch(paths.switchNamespace, [
    'link set lo up',
    'link add lab type bridge',
    'link set lab up',
    'link add control type bridge',
    `address add ${relayAddress}/24 dev control`,
    'link set control up',
    `link add client type veth peer name eth0 netns ${paths.clientNamespace}`,
    'link set client master lab up',
    ...portLines,
  ]);
  await ipBatch(paths.clientNamespace, [
    'link set lo up',
    `address add ${clientAddress}/24 dev eth0`,
    'link set eth0 up',
  ]);
}

/** Removes both namespaces with all that is in them; one that is not there is fine. */
export async function removeSwitch(paths: LabPaths): Promise<void> {
  for (const path of [paths.switchNamespace, paths.clientNamespace]) {
    // Not mounted, or not there: `up` was interrupted before it.
    await tryHostCommand(['umount', '-q', path]);
    rmSync(path, { force: true });
  }
}

const ebtables = (paths: LabPaths, ...rule: string[]): Promise<string> =>
  hostCommand(inNamespace(paths.switchNamespace, ['ebtables', ...rule]));

/** Drops every frame between the two ports (nodes', or `client`) from now on. */
export async function cutPorts(paths: LabPaths, one: string, other: string): Promise<void> {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const)
    await ebtables(paths, '-I', 'FORWARD', '-i', from, '-o', to, '-j', 'DROP');
}

/** Removes every cut. */
export async function healPorts(paths: LabPaths): Promise<void> {
  await ebtables(paths, '-F', 'FORWARD');
}

/** The pairs of ports that are cut, each once. */
export async function observeCuts(paths: LabPaths): Promise<string[]> {
  const rules = await ebtables(paths, '-L', 'FORWARD');
  const pairs = [...rules.matchAll(/-i (\S+) -o (\S+) -j DROP/g)].map(([, from = '', to = '']) =>
    [from, to].sort().join(' '),
  );
  return [...new Set(pairs)].sort();
}
