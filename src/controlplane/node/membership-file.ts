/**
 * What a host remembers of the swarm it belongs to, in `<state>/swarm/membership.json`. Keys and certificates lie beside
 * it in files of their own; nothing here is secret.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClusterId, NodeId } from '../../model/ids.js';
import { isId } from '../../model/ids.js';
import type { NodeRole } from '../../model/objects.js';
import { OutsideError } from '../../model/errors.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import type { NodeAddresses } from './node-addresses.js';

export interface RemoteManager {
  readonly nodeId: string;
  /** host:port */
  readonly addr: string;
}

export interface MembershipFile {
  readonly clusterId: ClusterId;
  readonly nodeId: NodeId;
  readonly role: NodeRole;
  readonly addresses: NodeAddresses;
  /** Managers that were known last; the agent turns to them after a restart. */
  readonly managers: readonly RemoteManager[];
}

const formatVersion = 1;
const pathIn = (swarmDir: string): string => join(swarmDir, 'membership.json');

/** Undefined when the host belongs to no swarm. A damaged file is an OutsideError: better no daemon than a second swarm. */
export async function readMembership(swarmDir: string): Promise<MembershipFile | undefined> {
  let text;
  try {
    text = await readFile(pathIn(swarmDir), 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new OutsideError(`cannot read ${pathIn(swarmDir)}`, false, { cause: err });
  }
  try {
    const { formatVersion: version, ...membership } = JSON.parse(text) as MembershipFile & {
      formatVersion: number;
    };
    if (version !== formatVersion || !isId(membership.nodeId) || !isId(membership.clusterId))
      throw new Error(`format ${version} or an identifier is not understood`);
    return membership;
  } catch (err) {
    throw new OutsideError(`${pathIn(swarmDir)} is damaged`, false, { cause: err });
  }
}

export const writeMembership = (swarmDir: string, membership: MembershipFile): Promise<void> =>
  writeFileAtomic(pathIn(swarmDir), `${JSON.stringify({ formatVersion, ...membership }, undefined, 2)}\n`);
