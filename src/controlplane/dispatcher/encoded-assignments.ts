/**
 * What nodes are told, as octets. What many are told alike is encoded once: a change of a network for all of its nodes, and all
 * that there is of it by the pieces that its versions share (runtime/keyed-list.ts). So what a message costs hangs on its length
 * alone, and a thousand nodes that come at the same time do not have a thousand copies made.
 */
import type { NodeId } from '../../model/ids.js';
import type { KeyedList } from '../../runtime/keyed-list.js';
import type { Assignment, AssignmentChange } from '../rpc/assignment.js';
import { encodeChanges, packChanges } from '../rpc/proto.js';
import type { NodeAssignments } from './assignments.js';
import { isPeerItself, ownChanges, sharedChanges, sharedPairs } from './assignments.js';

/** Of one message of a complete set, more or less: what a stream holds at a time. */
const partBytes = 64 * 1024;
/** Of the node's own, which are a task of some KiB each. */
const partChanges = 32;

const encodedChanges = new WeakMap<readonly AssignmentChange[], Buffer>();
const encodedChunks = new WeakMap<readonly Assignment[], Buffer>();
const packedChunks = new WeakMap<readonly Assignment[], Buffer>();

/** What leads from `before` to `after`; empty: nothing does. */
export function encodedBetween(
  before: NodeAssignments | null,
  after: NodeAssignments | null,
  nodeId: NodeId,
): readonly Buffer[] {
  const own = ownChanges(before, after);
  const shared = sharedPairs(before, after).map(({ was, is }) => {
    const changes = sharedChanges(was, is);
    const others = changes.filter(({ assignment }) => !isPeerItself(assignment, nodeId));
    return others.length === changes.length
      ? encodedOnce(encodedChanges, changes, encodeChanges)
      : encodeChanges(others);
  });
  return [...(own.length > 0 ? [encodeChanges(own)] : []), ...shared].filter(({ length }) => length > 0);
}

/**
 * All that the node has to know, in parts of about {@link partBytes}; at least one.
 * @param packed what it shares with others
 */
export function* encodedParts(
  all: NodeAssignments | null,
  nodeId: NodeId,
  packed: boolean,
): Generator<readonly Buffer[], void> {
  let part: Buffer[] = [];
  let bytes = 0;
  for (const piece of piecesOf(all, nodeId, packed)) {
    if (bytes > 0 && bytes + piece.length > partBytes) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(piece);
    bytes += piece.length;
  }
  yield part;
}

function* piecesOf(all: NodeAssignments | null, nodeId: NodeId, packed: boolean): Generator<Buffer, void> {
  const own = ownChanges(null, all);
  for (let i = 0; i < own.length; i += partChanges) yield encodeChanges(own.slice(i, i + partChanges));
  for (const { is } of sharedPairs(null, all))
    for (const chunk of chunksOf(is)) yield encodedChunk(chunk, nodeId, packed);
}

const chunksOf = (list: KeyedList<Assignment> | null): KeyedList<Assignment>['chunks'] => list?.chunks ?? [];

const putsOf = (chunk: readonly Assignment[]): AssignmentChange[] =>
  chunk.map((assignment) => ({ remove: false, assignment }));

function encodedChunk(chunk: readonly Assignment[], nodeId: NodeId, packed: boolean): Buffer {
  if (chunk.some((assignment) => isPeerItself(assignment, nodeId)))
    return encodeChanges(putsOf(chunk.filter((assignment) => !isPeerItself(assignment, nodeId))));
  return packed
    ? encodedOnce(packedChunks, chunk, (puts) => packChanges(putsOf(puts)))
    : encodedOnce(encodedChunks, chunk, (puts) => encodeChanges(putsOf(puts)));
}

function encodedOnce<T extends object>(known: WeakMap<T, Buffer>, of: T, encode: (of: T) => Buffer): Buffer {
  const encoded = known.get(of) ?? encode(of);
  known.set(of, encoded);
  return encoded;
}
