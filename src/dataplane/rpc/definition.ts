/** The service of proto/dataplane.proto as grpc-js wants it, with the types of its messages after decoding. */
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { Difference } from '../difference.js';
import type { ServiceTrace } from '../trace.js';

export interface WaitProgrammedRequest {
  readonly revision: number;
  /** '' for the node as a whole. */
  readonly taskId: string;
}

/** Nodes that do not answer this one. */
export interface SilentNodes {
  readonly nodeIds: readonly string[];
}

/** What `skep status` shows. */
export interface DataplaneStatus {
  /** 0: no state was ever set. */
  readonly desiredRevision: number;
  readonly programmedRevision: number;
  /** '' when the last pass went well. */
  readonly lastError: string;
  readonly driftRepairs: number;
  /** What balances here, `ipvs` or `ebpf`; '' while that is not known. */
  readonly engine: string;
  /** Whether the kernel has what encrypted overlays need. */
  readonly esp: boolean;
  /** Of the keys that this node sends ESP with. */
  readonly espEpoch: number;
  /** Nodes that do not answer this one: their tasks get no new flows from here. */
  readonly silentNodes: readonly string[];
}

export interface VerifyReply {
  readonly revision: number;
  /** The kernel equals the state now. */
  readonly equal: boolean;
  /** One per operation that a repair makes; of a repair, as they were before it. */
  readonly differences: readonly Difference[];
  /** Operations that a repair did. */
  readonly repaired: number;
}

/** What `skep trace` shows. */
export interface TraceReply extends ServiceTrace {
  readonly revision: number;
  /** As in {@link DataplaneStatus}. */
  readonly engine: string;
}

/** A state of thousands of endpoints fits; both ends are ours and on one host. */
export const messageBytesMax = 64 << 20;

/** Loads the contract; the path holds from src/ and dist/ alike. */
export function loadDataplaneService(): ServiceDefinition {
  const definition = loadSync(fileURLToPath(new URL('../../../proto/dataplane.proto', import.meta.url)), {
    // As numbers; what exceeds 2^53 is refused by the parser, not rounded unseen.
    longs: Number,
    defaults: true,
  });
  const loaded = loadPackageDefinition(definition) as unknown as {
    skep: { dataplane: { v1: { Dataplane: { service: ServiceDefinition } } } };
  };
  return loaded.skep.dataplane.v1.Dataplane.service;
}
