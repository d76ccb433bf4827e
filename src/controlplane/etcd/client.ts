/**
 * A thin client of etcd's v3 API: range, transaction, watch, status, each as one gRPC call with a deadline. It keeps
 * no state and retries nothing: what an outcome means, only the caller knows. Revisions are JavaScript numbers,
 * exact up to 2^53. Keys go into errors, values never do.
 */
import * as grpc from '@grpc/grpc-js';
import { OutsideError } from '../../model/errors.js';
import { EtcdError, callMsDefault, serviceClient, toEtcdError, unary } from './channel.js';
import type { Unary, WireHeader } from './channel.js';

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  /** Revision of the last write. */
  readonly modRevision: number;
}

export type Compare =
  /** Holds when the key was last written at this revision; 0: the key is absent. */
  | { readonly key: string; readonly modRevision: number }
  /** Holds when no key there is below the prefix was written after this revision. */
  | { readonly prefix: string; readonly unwrittenSince: number };

export type WriteOp =
  | {
      readonly op: 'put';
      readonly key: string;
      readonly value: Buffer;
      /** The key goes with it. */
      readonly lease?: string;
    }
  | { readonly op: 'delete'; readonly key: string };

export interface TxnResult {
  readonly succeeded: boolean;
  /** The store's revision: of the write when it succeeded, of the refusal otherwise. */
  readonly revision: number;
  /** The key asked for with `readOnFailure`, when the transaction was refused and the key exists. */
  readonly read?: KeyValue;
}

/** Absent `kv.value` of a deletion is an empty buffer. */
export interface WatchEvent {
  readonly type: 'put' | 'delete';
  readonly kv: KeyValue;
}

/** `noSpace`: the database has come to its quota, and etcd writes no more. `corrupt`: members hold different things. */
export type Alarm = 'noSpace' | 'corrupt';

export interface EtcdStatus {
  readonly version: string;
  readonly revision: number;
  /** Of the database file, and of what in it holds something; the rest is free for use again. */
  readonly databaseBytes: number;
  readonly usedBytes: number;
  /** `noSpace` of this member alone, `corrupt` of any. */
  readonly alarms: readonly Alarm[];
  readonly hasLeader: boolean;
  /** The member that was asked, in etcd's numbers; and whether it leads. */
  readonly memberId: string;
  readonly isLeader: boolean;
  /** Grows with every election. */
  readonly raftTerm: number;
}

/** The watch asked for a revision that etcd has compacted away: only a full read helps. */
export class CompactedError extends OutsideError {
  override readonly name = 'CompactedError';

  constructor(readonly compactRevision: number) {
    super(`etcd watch: compacted up to revision ${compactRevision}`, false);
  }
}

/** Is told of a call: what it was, with the key if it is of one, and how long it took; how it failed. Must not throw. */
export type ObserveCall = (operation: string, tookMs: number, failure?: EtcdError) => void;

/** How the wire has a key-value; 64-bit numbers as text. */
interface WireKeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly modRevision: string;
}
interface WireRange {
  readonly header: WireHeader;
  readonly kvs: readonly WireKeyValue[];
  readonly more: boolean;
}
interface WireTxn {
  readonly header: WireHeader;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly responseRange?: WireRange | null }[];
}
interface WireWatch {
  readonly header: WireHeader;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: string;
  readonly cancelReason: string;
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: WireKeyValue }[];
}
interface WireStatus {
  readonly header: WireHeader & { readonly memberId: string };
  readonly version: string;
  readonly dbSize: string;
  readonly dbSizeInUse: string;
  readonly errors: readonly string[];
  readonly leader: string;
  readonly raftTerm: string;
}

type KvClient = grpc.Client & { range: Unary<WireRange>; txn: Unary<WireTxn>; compact: Unary<Headed> };
type WatchClient = grpc.Client & { watch(): grpc.ClientDuplexStream<object, WireWatch> };
interface Headed {
  readonly header: WireHeader;
}
type MaintenanceClient = grpc.Client & {
  status: Unary<WireStatus>;
  moveLeader: Unary<Headed>;
  defragment: Unary<Headed>;
  alarm: Unary<Headed>;
};

const pageEntries = 500;
/** A gigabyte is written anew in some seconds, on a slow disk in a minute. */
const maintenanceMs = 120_000;

export class EtcdClient {
  readonly #kv: KvClient;
  readonly #watch: WatchClient;
  readonly #maintenance: MaintenanceClient;

  /**
   * `address` is a gRPC target: `unix:///path` or `host:port`.
   * @param observe is told of every call that is over
   */
  constructor(
    address: string,
    credentials?: grpc.ChannelCredentials,
    private readonly observe?: ObserveCall,
  ) {
    this.#kv = serviceClient('KV', address, credentials);
    this.#watch = serviceClient('Watch', address, credentials);
    this.#maintenance = serviceClient('Maintenance', address, credentials);
  }

  /** All keys that begin with `prefix`, of one revision, read in pages and handed on page by page. */
  async readPrefix(
    prefix: string,
    onPage: (kvs: readonly KeyValue[]) => void,
    deadlineMs = callMsDefault,
  ): Promise<{ readonly revision: number }> {
    let from = Buffer.from(prefix);
    let revision = 0;
    for (;;) {
      const request = { key: from, rangeEnd: prefixEnd(prefix), limit: pageEntries, revision };
      const page = await this.#call(`range ${prefix}`, deadlineMs, this.#kv, this.#kv.range, request);
      revision ||= Number(page.header.revision);
      onPage(page.kvs.map(fromWire));
      const last = page.kvs.at(-1);
      if (!page.more || !last) return { revision };
      from = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  /** One key as a majority of the members has it. */
  async get(key: string, deadlineMs = callMsDefault): Promise<KeyValue | undefined> {
    const request = { key: Buffer.from(key) };
    const reply = await this.#call(`get ${key}`, deadlineMs, this.#kv, this.#kv.range, request);
    const [kv] = reply.kvs;
    return kv && fromWire(kv);
  }

  /** Writes all of `ops` if every comparison holds, else nothing. No key may be written twice. */
  async txn(
    compares: readonly Compare[],
    ops: readonly WriteOp[],
    { readOnFailure, deadlineMs = callMsDefault }: { readOnFailure?: string; deadlineMs?: number } = {},
  ): Promise<TxnResult> {
    const request = {
      compare: compares.map((compare) =>
        'key' in compare
          ? {
              result: 'EQUAL',
              target: 'MOD',
              key: Buffer.from(compare.key),
              modRevision: compare.modRevision,
            }
          : {
              result: 'LESS',
              target: 'MOD',
              key: Buffer.from(compare.prefix),
              rangeEnd: prefixEnd(compare.prefix),
              modRevision: compare.unwrittenSince + 1,
            },
      ),
      success: ops.map((op) =>
        op.op === 'put'
          ? { requestPut: { key: Buffer.from(op.key), value: op.value, lease: op.lease ?? 0 } }
          : { requestDeleteRange: { key: Buffer.from(op.key) } },
      ),
      failure: readOnFailure === undefined ? [] : [{ requestRange: { key: Buffer.from(readOnFailure) } }],
    };
    const reply = await this.#call('txn', deadlineMs, this.#kv, this.#kv.txn, request);
    const read = reply.succeeded ? undefined : reply.responses[0]?.responseRange?.kvs[0];
    return {
      succeeded: reply.succeeded,
      revision: Number(reply.header.revision),
      ...(read && { read: fromWire(read) }),
    };
  }

  /**
   * Follows every key there is from `fromRevision` on. Each call of `onEvents` has whole revisions, in order.
   * Rejects when the stream ends, with CompactedError or EtcdError, with what `onEvents` threw, or with the
   * signal's reason; never resolves.
   */
  watchAll(
    fromRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    signal: AbortSignal,
  ): Promise<never> {
    return new Promise((_, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const stream = this.#watch.watch();
      const end = (reason: unknown): void => {
        signal.removeEventListener('abort', onAbort);
        reject(reason instanceof Error ? reason : new Error(String(reason)));
        stream.cancel();
      };
      const onAbort = (): void => end(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      // Stays after the end: cancelling makes one more error, which nobody else would take.
      stream.on('error', (err: grpc.ServiceError) => end(toEtcdError('watch', err)));
      stream.on('end', () =>
        end(new EtcdError('watch', grpc.status.UNAVAILABLE, 'the stream ended', undefined)),
      );
      stream.on('data', (response: WireWatch) => {
        if (signal.aborted) return;
        if (Number(response.compactRevision) > 0)
          return end(new CompactedError(Number(response.compactRevision)));
        if (response.canceled)
          return end(new EtcdError('watch', grpc.status.UNAVAILABLE, response.cancelReason, undefined));
        try {
          const events = response.events.map(({ type, kv }) => ({
            type: type === 'PUT' ? ('put' as const) : ('delete' as const),
            kv: fromWire(kv),
          }));
          if (events.length > 0) onEvents(events);
        } catch (err) {
          end(err);
        }
      });
      const everything = Buffer.of(0);
      stream.write({
        createRequest: { key: everything, rangeEnd: everything, startRevision: fromRevision },
      });
    });
  }

  async status(deadlineMs = callMsDefault): Promise<EtcdStatus> {
    const reply = await this.#call('status', deadlineMs, this.#maintenance, this.#maintenance.status, {});
    return {
      version: reply.version,
      revision: Number(reply.header.revision),
      databaseBytes: Number(reply.dbSize),
      usedBytes: Number(reply.dbSizeInUse),
      alarms: alarmsOf(reply.header.memberId, reply.errors),
      hasLeader: reply.leader !== '0',
      memberId: reply.header.memberId,
      isLeader: reply.leader === reply.header.memberId,
      raftTerm: Number(reply.raftTerm),
    };
  }

  /** Has another member lead; only the one that leads can be asked. Resolves when it does. */
  async moveLeader(memberId: string, deadlineMs = callMsDefault): Promise<void> {
    const { moveLeader } = this.#maintenance;
    await this.#call('move leader', deadlineMs, this.#maintenance, moveLeader, { targetID: memberId });
  }

  /** Forgets what was before a revision, and frees its space. One that was forgotten before is no error. */
  async compact(revision: number, deadlineMs = maintenanceMs): Promise<void> {
    const request = { revision, physical: true };
    try {
      await this.#call('compact', deadlineMs, this.#kv, this.#kv.compact, request);
    } catch (err) {
      if (!(err instanceof EtcdError && err.code === grpc.status.OUT_OF_RANGE)) throw err;
    }
  }

  /** Writes the database of the member that is asked anew, without what is free in it; meanwhile it answers nothing. */
  async defragment(deadlineMs = maintenanceMs): Promise<void> {
    await this.#call('defragment', deadlineMs, this.#maintenance, this.#maintenance.defragment, {});
  }

  /** Takes back a member's alarm of its quota. It is raised again with the next write that does not fit. */
  async disarm(memberId: string, deadlineMs = callMsDefault): Promise<void> {
    const request = { action: 'DEACTIVATE', memberID: memberId, alarm: 'NOSPACE' };
    await this.#call('disarm', deadlineMs, this.#maintenance, this.#maintenance.alarm, request);
  }

  async #call<Reply>(...[operation, ...call]: Parameters<typeof unary<Reply>>): Promise<Reply> {
    const begunMs = performance.now();
    const tell = (failure?: EtcdError): void =>
      this.observe?.(operation, performance.now() - begunMs, failure);
    try {
      const reply = await unary(operation, ...call);
      tell();
      return reply;
    } catch (err) {
      if (err instanceof EtcdError) tell(err);
      throw err;
    }
  }

  close(): void {
    this.#kv.close();
    this.#watch.close();
    this.#maintenance.close();
  }
}

/** etcd has them in its status as the text of its messages. */
const alarmsOf = (memberId: string, errors: readonly string[]): readonly Alarm[] =>
  errors.flatMap((text): readonly Alarm[] => {
    const [, member, alarm] = /^memberID:(\d+) alarm:(\w+)/.exec(text) ?? [];
    if (alarm === 'CORRUPT') return ['corrupt'];
    return alarm === 'NOSPACE' && member === memberId ? ['noSpace'] : [];
  });

const fromWire = ({ key, value, modRevision }: WireKeyValue): KeyValue => ({
  key: key.toString(),
  value,
  modRevision: Number(modRevision),
});

/** The first key after all that begin with `prefix`, which ends in a character below 0x7f. */
function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  end[last] = (end[last] ?? 0) + 1;
  return end;
}
