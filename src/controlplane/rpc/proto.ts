/** Loads proto/dispatcher.proto once. Field names become camelCase; 64-bit integers become numbers (all stay below 2^53). */
import assert from 'node:assert';
import { fileURLToPath } from 'node:url';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { loadPackageDefinition, makeGenericClientConstructor } from '@grpc/grpc-js';
import type { GrpcObject, ServiceClientConstructor, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { AssignmentChange, EncodedAssignmentsMessage, WireAssignmentsMessage } from './assignment.js';
import { formatChange } from './assignment.js';

// Same depth from src/ and from dist/.
const protoPath = fileURLToPath(new URL('../../../proto/dispatcher.proto', import.meta.url));

const definition = loadSync(protoPath, { longs: Number, defaults: true, oneofs: true });
const root = loadPackageDefinition(definition) as unknown as {
  readonly skep: { readonly dispatcher: { readonly v1: GrpcObject } };
};

const LoadedDispatcher = root.skep.dispatcher.v1['Dispatcher'] as ServiceClientConstructor;
export const NodeCaConstructor = root.skep.dispatcher.v1['NodeCa'] as ServiceClientConstructor;
export const ManagersConstructor = root.skep.dispatcher.v1['Managers'] as ServiceClientConstructor;

const { Assignments: assignments, ...otherMethods } = LoadedDispatcher.service;
assert(assignments, 'the dispatcher gives assignments');
const encodeMessage = (message: object): Buffer => assignments.responseSerialize(message);
const decodeMessage = (bytes: Buffer) =>
  assignments.responseDeserialize(bytes) as WireAssignmentsMessage & { readonly packed: readonly Buffer[] };

/**
 * Assignments are written from octets: fields of one message that stand behind each other are one message. What is packed comes out as
 * any other changes.
 */
export const dispatcherDefinition: ServiceDefinition = {
  ...otherMethods,
  Assignments: {
    ...assignments,
    responseSerialize: ({ encoded, ...head }: EncodedAssignmentsMessage) =>
      Buffer.concat([encodeMessage(head), ...encoded]),
    responseDeserialize: (bytes) => {
      const { packed, ...message } = decodeMessage(bytes);
      return packed.length === 0
        ? message
        : { ...message, changes: [...message.changes, ...packed.flatMap(unpackChanges)] };
    },
  },
};

export const DispatcherConstructor = makeGenericClientConstructor(dispatcherDefinition, 'Dispatcher');

/** The changes as a part of any message of assignments. */
export const encodeChanges = (changes: readonly AssignmentChange[]): Buffer =>
  encodeMessage({ changes: changes.map(formatChange) });

/**
 * {@link encodeChanges} in some 0.4 of the octets. The first level does nearly as well as the last one: most of it are ids, which are
 * random.
 */
export const packChanges = (changes: readonly AssignmentChange[]): Buffer =>
  encodeMessage({ packed: [deflateRawSync(encodeChanges(changes), { level: 1 })] });

const unpackChanges = (packed: Buffer): WireAssignmentsMessage['changes'] =>
  decodeMessage(inflateRawSync(packed, { maxOutputLength: messageBytesMax })).changes;

export const nodeCaDefinition: ServiceDefinition = NodeCaConstructor.service;
export const managersDefinition: ServiceDefinition = ManagersConstructor.service;
/** Every service of the file. */
export const services: readonly ServiceDefinition[] = Object.values(root.skep.dispatcher.v1).flatMap(
  (entry) => ('service' in entry ? [(entry as ServiceClientConstructor).service] : []),
);

/**
 * Largest message either side accepts. To a node that takes no parts all that it has to know is one message: about 150 bytes for
 * every endpoint of its networks and a few KiB for every task of its own.
 */
export const messageBytesMax = 64 * 1024 * 1024;
