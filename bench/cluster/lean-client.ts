/**
 * A client of the dispatcher that does not read a whole large message of assignments, so that one process can be a thousand nodes:
 * of what is larger than any single change it takes the head alone. The bytes come all the same.
 */
import { makeGenericClientConstructor } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { dispatcherDefinition } from '../../src/controlplane/rpc/proto.js';

/** No change of one endpoint is as large. */
const wholeBytesMax = 16 * 1024;
/** AssignmentsMessage.changes, .packed and .traces, with a length. */
const changesTags: readonly (number | undefined)[] = [0x2a, 0x3a, 0x42];

/** What comes before the first change or trace: a message of its own, since fields are written in the order of their numbers. */
export function headOf(message: Buffer): Buffer {
  let at = 0;
  // What comes before are numbers: a tag, then octets of which all but the last have their highest bit set.
  while (at < message.length && !changesTags.includes(message[at])) {
    at += 1;
    while ((message[at] ?? 0) >= 0x80) at += 1;
    at += 1;
  }
  return message.subarray(0, at);
}

const { Assignments: assignments, ...others } = dispatcherDefinition;
if (!assignments) throw new Error('the dispatcher gives assignments');

const lean: ServiceDefinition = {
  ...others,
  Assignments: {
    ...assignments,
    responseDeserialize: (bytes) =>
      assignments.responseDeserialize(bytes.length > wholeBytesMax ? headOf(bytes) : bytes) as object,
  },
};

export const LeanDispatcher = makeGenericClientConstructor(lean, 'Dispatcher');
