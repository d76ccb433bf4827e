/** Connections to other nodes' engines, between the API that wants them and what brings them. */
import type { Duplex } from 'node:stream';
import { OutsideError } from '../model/errors.js';
import type { NodeId } from '../model/ids.js';
import type { Node } from '../model/objects.js';

/**
 * Opens a connection for one HTTP request to the engine of a node that has a session, wherever that is; the node serves what it
 * lets managers have of its tasks' containers. Rejects with `unavailable` when it cannot be had; an open one that is lost ends
 * with an error that names the node. Whoever has it destroys it.
 */
export type OpenTunnel = (nodeId: NodeId, signal: AbortSignal) => Promise<Duplex>;

/** What a connection ends with when its node goes away. */
export const nodeLost = ({ id, description }: Pick<Node, 'id' | 'description'>): OutsideError =>
  new OutsideError(`the connection to node ${description?.hostname ?? id} was lost`, true);
