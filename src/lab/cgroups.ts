/**
 * The cgroups of nodes on this machine's kernel: `skep-lab/LAB/NODE` in every hierarchy that is mounted here, version 1 or 2
 * or both. The one of version 2 says which processes are a node's and kills them together.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OutsideError } from '../model/errors.js';
import { untilGone } from './machine.js';

interface Hierarchy {
  readonly mountPoint: string;
  readonly version: 1 | 2;
}

/** This machine's hierarchies. */
function hierarchies(): Hierarchy[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .flatMap((line): Hierarchy[] => {
      const [, mountPoint = '', type] = line.split(' ');
      if (type === 'cgroup') return [{ mountPoint, version: 1 }];
      return type === 'cgroup2' ? [{ mountPoint, version: 2 }] : [];
    });
}

/** The place of version 2; throws OutsideError where it is not mounted (every systemd mounts it, since 2016). */
function unified(): string {
  const found = hierarchies().find(({ version }) => version === 2);
  if (!found)
    throw new OutsideError('a lab on this kernel needs cgroup version 2, and it is not mounted', false, {
      advice: {
        means: 'The processes of a node are held together by its cgroup, and there can be none.',
        todo: 'Mount it: "mount -t cgroup2 none /sys/fs/cgroup/unified"; or take another kernel (--kernel uml).',
      },
    });
  return found.mountPoint;
}

/**
 * Makes the node's group in every hierarchy. `init` is a leaf (called as systemd's) of the one of version 2, for the first process: a group with
 * processes in it cannot hand controllers on.
 */
export function createNodeGroups(group: string): { all: string[]; init: string } {
  const init = join(unified(), group, 'init.scope');
  const all = hierarchies().map(({ mountPoint, version }) => {
    let path = mountPoint;
    for (const step of group.split('/')) {
      if (version === 2 && path !== mountPoint) handControllersOn(path);
      path = join(path, step);
      mkdirSync(path, { recursive: true });
      if (version === 1) inheritProcessors(path);
    }
    return path;
  });
  mkdirSync(init, { recursive: true });
  return { all, init };
}

/** Version 2: the groups below get all the controllers that this one got. The root's own choice is the machine's. */
function handControllersOn(path: string): void {
  const controllers = readFileSync(join(path, 'cgroup.controllers'), 'utf8').trim().split(' ');
  const wanted = controllers.filter((name) => name !== '').map((name) => `+${name}`);
  if (wanted.length > 0) writeFileSync(join(path, 'cgroup.subtree_control'), wanted.join(' '));
}

/** Version 1: a group of the cpuset hierarchy takes no process before it has processors and memory. */
function inheritProcessors(path: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const own = join(path, file);
    if (existsSync(own) && readFileSync(own, 'utf8').trim() === '')
      writeFileSync(own, readFileSync(join(dirname(path), file)));
  }
}

/** Kills every process in the group and below it. */
export function killGroup(group: string): void {
  const kill = join(unified(), group, 'cgroup.kill');
  if (existsSync(kill)) writeFileSync(kill, '1');
}

/** The processes in the group and below it; those that have ended are not counted. */
export function groupMembers(group: string): number[] {
  return groupsBelow(join(unified(), group)).flatMap((path) =>
    processesOf(path)
      .split('\n')
      .filter((line) => line !== '')
      .map(Number),
  );
}

/** Nothing of a group that was removed since it was listed: a container may have ended. */
function processesOf(path: string): string {
  try {
    return readFileSync(join(path, 'cgroup.procs'), 'utf8');
  } catch (err) {
    if (['ENOENT', 'ENODEV'].includes((err as NodeJS.ErrnoException).code ?? '')) return '';
    throw err;
  }
}

/** Removes the group with all below it from every hierarchy; waits for what still ends in it. */
export async function removeGroups(group: string): Promise<void> {
  await untilGone(`cgroups of ${group}`, () =>
    hierarchies().flatMap(({ mountPoint }) =>
      groupsBelow(join(mountPoint, group)).filter((path) => !tryRemove(path)),
    ),
  );
}

/** Removes the group from every hierarchy where there is none below it. */
export function removeEmptyGroup(group: string): void {
  for (const { mountPoint } of hierarchies()) tryRemove(join(mountPoint, group));
}

/** The group and all below it, the deepest first; none if it is not there. */
function groupsBelow(path: string): string[] {
  if (!existsSync(path)) return [];
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...below.flatMap(({ name }) => groupsBelow(join(path, name))), path];
}

function tryRemove(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code === 'EBUSY') return false;
    if (code === 'ENOENT') return true;
    throw err;
  }
}
