/** Loads proto/dispatcher.proto once. Field names become camelCase; 64-bit integers become numbers (all stay below 2^53). */
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition } from '@grpc/grpc-js';
import type { GrpcObject, ServiceClientConstructor, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

// Same depth from src/ and from dist/.
const protoPath = fileURLToPath(new URL('../../../proto/dispatcher.proto', import.meta.url));

const definition = loadSync(protoPath, { longs: Number, defaults: true, oneofs: true });
const root = loadPackageDefinition(definition) as unknown as {
  readonly skep: { readonly dispatcher: { readonly v1: GrpcObject } };
};

export const DispatcherConstructor = root.skep.dispatcher.v1['Dispatcher'] as ServiceClientConstructor;
export const NodeCaConstructor = root.skep.dispatcher.v1['NodeCa'] as ServiceClientConstructor;
export const ManagersConstructor = root.skep.dispatcher.v1['Managers'] as ServiceClientConstructor;
export const dispatcherDefinition: ServiceDefinition = DispatcherConstructor.service;
export const nodeCaDefinition: ServiceDefinition = NodeCaConstructor.service;
export const managersDefinition: ServiceDefinition = ManagersConstructor.service;
/** Every service of the file. */
export const services: readonly ServiceDefinition[] = Object.values(root.skep.dispatcher.v1).flatMap(
  (entry) => ('service' in entry ? [(entry as ServiceClientConstructor).service] : []),
);

/**
 * Largest message either side accepts. A node's first assignment message is one message: about 150 bytes for every
 * endpoint of its networks and a few KiB for every task of its own.
 */
export const messageBytesMax = 64 * 1024 * 1024;
