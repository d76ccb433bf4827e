/**
 * Names and addresses of a lab: everything that can be said about one from its name and a node's number alone.
 * Two labs share nothing but the cache, because every path starts with the lab's name and every interface lives in the
 * lab's own network namespaces; so the addresses may be the same in all of them.
 */
import { SkepError } from '../model/errors.js';

/** Highest number of nodes: addresses .1 to .100, well below the client's. */
export const nodesMax = 100;

/** Address of the machine outside the cluster. */
export const clientAddress = '192.168.60.200';

/** Port of a node's agent on the control network, which nothing but the lab's relay can reach. */
export const agentPort = 7000;

/** The relay's address on the control network. */
export const relayAddress = '169.254.60.254';

/** Where image archives are kept between labs. */
export const cacheDir = '/var/cache/skep-lab';

/** An engine that is newer than the machine's own; scripts/lab-engine.sh makes it. */
export const laterEngine = `${cacheDir}/engine/current`;

/** Paths of one lab on this machine. */
export interface LabPaths {
  /** State, sockets, logs and namespaces; gone after `down`. */
  readonly run: string;
  /** Disk images: not below /run, which is often a small tmpfs. */
  readonly disks: string;
  /** What `up` was told; written before anything is started. */
  readonly state: string;
  /** Made last by `up`, so its presence means that the lab is complete. */
  readonly complete: string;
  /** The lab's cgroup, in every hierarchy. */
  readonly group: string;
  /** Network namespace of the bridge, the nodes' ports, and of machines that are processes beside the nodes. */
  readonly switchNamespace: string;
  /** Network namespace of the machine outside the cluster. */
  readonly clientNamespace: string;
  readonly uml: string;
  readonly relayLog: string;
}

/** The paths of the lab called `name`. A name outside [a-z0-9-]{1,20} is refused: it becomes part of paths. */
export function labPaths(name: string): LabPaths {
  if (!/^[a-z0-9][a-z0-9-]{0,19}$/.test(name))
    throw new SkepError('invalidArgument', `invalid lab name ${JSON.stringify(name)}`, {
      advice: {
        means: 'The name becomes part of paths and of network namespaces. Nothing was done.',
        todo: 'Use a-z, 0-9 and -, 20 of them at most, the first one no dash.',
      },
    });
  const run = `/run/skep-lab/${name}`;
  return {
    run,
    disks: `/var/lib/skep-lab/${name}`,
    state: `${run}/lab.json`,
    complete: `${run}/complete`,
    group: `skep-lab/${name}`,
    switchNamespace: `${run}/switch.net`,
    clientNamespace: `${run}/client.net`,
    uml: `${run}/uml`,
    relayLog: `${run}/relay.log`,
  };
}

/** One node: its names, addresses and files on this machine. */
export interface NodeLayout {
  readonly name: string;
  /** 1 for node1. */
  readonly index: number;
  readonly address: string;
  readonly mac: string;
  /** Its port on the lab's bridge. */
  readonly port: string;
  /** The way to the agent of a node with a kernel of its own: a network that nothing else is on. */
  readonly controlAddress: string;
  /** Always the same: this machine keeps it in its neighbour table over a restart of the node. */
  readonly controlMac: string;
  readonly controlPort: string;
  readonly dir: string;
  readonly logs: string;
  readonly console: string;
  readonly pidFile: string;
  readonly agentSocketDir: string;
  readonly agentSocket: string;
  /** Where a node on this machine's kernel builds its root; empty for all others. */
  readonly root: string;
  /** Its cgroup, in every hierarchy. */
  readonly group: string;
  readonly disk: string;
}

/** The layout of node number `index` (from 1). */
export function nodeLayout(paths: LabPaths, index: number): NodeLayout {
  const name = `node${index}`;
  const dir = `${paths.run}/${name}`;
  const hex = index.toString(16).padStart(2, '0');
  return {
    name,
    index,
    address: `192.168.60.${index}`,
    mac: `52:54:00:60:00:${hex}`,
    port: name,
    controlAddress: `169.254.60.${index}`,
    controlMac: `52:54:00:61:00:${hex}`,
    controlPort: `${name}-ctl`,
    dir,
    logs: `${dir}/log`,
    console: `${dir}/log/console.log`,
    pidFile: `${dir}/pid`,
    agentSocketDir: `${dir}/agent`,
    agentSocket: `${dir}/agent/socket`,
    root: `${dir}/root`,
    group: `${paths.group}/${name}`,
    disk: `${paths.disks}/${name}.img`,
  };
}
