/**
 * Why an etcd ended, by what it wrote last. The difference decides what is done: a host that lacks something is waited for, and
 * nothing is ever removed for it; data that are damaged, or those of a member that was removed, are replaced by what the other
 * managers have. Pure. Messages are etcd's and Go's of 3.4 and later; etcd writes keys and sizes there, never values.
 */
import { OutsideError } from '../../model/errors.js';

/**
 * `host`: something around it (disk, rights, ports, memory). `removed`: the others have it no more. `damaged`: it cannot go on
 * with what it has. `unknown`: it did not say; killed, for one.
 */
export type EndReason = 'host' | 'removed' | 'damaged' | 'unknown';

export interface EtcdEnd {
  readonly reason: EndReason;
  /** etcd's last words, one line; empty: none. */
  readonly words: string;
}

/** Of the host first: a disk that is full tears files, and what is then said of the files is its doing. */
const signs: readonly (readonly [EndReason, RegExp])[] = [
  [
    'host',
    /no space left on device|disk quota exceeded|permission denied|operation not permitted|read-only file system|input\/output error|address already in use|cannot assign requested address|too many open files|cannot allocate memory|out of memory|file already closed/i,
  ],
  [
    'damaged',
    /panic|fatal|crc mismatch|checksum|unexpected (EOF|fault)|invalid database|SIGSEGV|SIGBUS|data inconsistency/i,
  ],
];
/** A warning, and said of nobody but itself. */
const removed = /member has been permanently removed/i;
const wordsMax = 300;

/** @param log what the process wrote, or the end of that */
export function endOf(log: string): EtcdEnd {
  const lines = log.split('\n').filter((line) => line !== '');
  const last = lines.find((line) => removed.test(line));
  if (last !== undefined) return { reason: 'removed', words: wordsOf(last) };
  // Warnings tell of what went well in the end.
  const grave = lines.filter((line) => !/"level":"(debug|info|warn)"/.test(line));
  for (const [reason, sign] of signs) {
    const line = grave.find((text) => sign.test(text));
    if (line !== undefined) return { reason, words: wordsOf(line) };
  }
  return { reason: 'unknown', words: wordsOf(grave.at(0) ?? '') };
}

/** etcd ended by itself. */
export class EtcdEndedError extends OutsideError {
  override readonly name = 'EtcdEndedError';
  readonly reason: EndReason;

  constructor({ reason, words }: EtcdEnd, logFile: string) {
    super(`etcd ended${words && `: ${words}`}, see ${logFile}`, true);
    this.reason = reason;
  }
}

/** etcd runs on its data, and what it gives is not what was written. */
export class DamagedStoreError extends OutsideError {
  override readonly name = 'DamagedStoreError';

  constructor(message: string, options: { readonly cause: unknown }) {
    super(message, true, options);
  }
}

/** The message of a line of etcd's log, or of a panic's. */
function wordsOf(line: string): string {
  let text = line;
  try {
    const { msg = '', error = '' } = JSON.parse(line) as { msg?: string; error?: string };
    text = [msg, error].filter((part) => part !== '').join(': ');
  } catch {
    // A panic is no JSON.
  }
  return text.replace(/\s+/g, ' ').slice(0, wordsMax);
}
