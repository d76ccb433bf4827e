/** Lines as etcd 3.4 wrote them when its files were damaged, its disk filled up, its port taken. */
import { expect, test } from 'vitest';
import { endOf } from '../../../src/controlplane/etcd/ended.js';

const zap = (level: string, msg: string, error?: string): string =>
  JSON.stringify({ level, ts: '2026-01-01T00:00:00.000Z', caller: 'x.go:1', msg, ...(error && { error }) });
const startup = zap('warn', 'simple token is not cryptographically signed');

const cases: readonly (readonly [name: string, lines: readonly string[], reason: string, words: string])[] = [
  ['killed', [startup], 'unknown', ''],
  ['nothing at all', [], 'unknown', ''],
  [
    'a torn log',
    [startup, zap('fatal', 'discovery failed', 'walpb: crc mismatch')],
    'damaged',
    'discovery failed: walpb: crc mismatch',
  ],
  [
    'an empty log',
    ['panic: cannot use none as id', '', 'goroutine 1 [running]:'],
    'damaged',
    'panic: cannot use none as id',
  ],
  [
    'a zeroed database',
    [zap('panic', 'failed to open database', 'invalid database'), 'panic: failed to open database'],
    'damaged',
    'failed to open database: invalid database',
  ],
  [
    'pages of something else',
    ['panic: freepages: failed to get all reachable pages (page 832126433433277320: out of bounds: 514)'],
    'damaged',
    'panic: freepages: failed to get all reachable pages (page 832126433433277320: out of bounds: 514)',
  ],
  [
    'a database that is gone',
    [
      zap('warn', 'failed to find [SNAPSHOT-INDEX].snap.db', "snap: snapshot file doesn't exist"),
      zap('panic', 'failed to recover v3 backend from snapshot', 'failed to find database snapshot file'),
      'panic: failed to recover v3 backend from snapshot',
      '[signal SIGSEGV: segmentation violation code=0x1 addr=0x20 pc=0xc14a09]',
    ],
    'damaged',
    'failed to recover v3 backend from snapshot: failed to find database snapshot file',
  ],
  [
    'another copy than the others have',
    [zap('fatal', 'discovery failed', '8211f1d0f64f3269 found data inconsistency with peers')],
    'damaged',
    'discovery failed: 8211f1d0f64f3269 found data inconsistency with peers',
  ],
  [
    'a full disk, and what that did to the files',
    [
      zap('warn', 'failed to preallocate space when creating a new WAL', 'no space left on device'),
      zap('fatal', 'failed to commit tx', 'write d/member/snap/db: no space left on device'),
      'panic: failed to commit tx',
    ],
    'host',
    'failed to commit tx: write d/member/snap/db: no space left on device',
  ],
  [
    'a torn file first, the disk after it',
    ['panic: torn', zap('fatal', 'x', 'write wal: no space left on device')],
    'host',
    'x: write wal: no space left on device',
  ],
  [
    'a port that is taken',
    [zap('fatal', 'discovery failed', 'listen tcp 127.0.0.1:2380: bind: address already in use')],
    'host',
    'discovery failed: listen tcp 127.0.0.1:2380: bind: address already in use',
  ],
  [
    'a disk that says no',
    [zap('fatal', 'cannot open', 'open d/member: permission denied')],
    'host',
    'cannot open: open d/member: permission denied',
  ],
  [
    'removed by the others, which is a warning',
    [zap('warn', 'server error', 'the member has been permanently removed from the cluster')],
    'removed',
    'server error: the member has been permanently removed from the cluster',
  ],
  ['a warning alone is no reason', [zap('warn', 'slow fdatasync', 'no space left on device')], 'unknown', ''],
];

test.each(cases)('%s', (_, lines, reason, words) => {
  expect(endOf(lines.join('\n'))).toEqual({ reason, words });
});
