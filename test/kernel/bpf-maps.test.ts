/** Maps of the kernel through the addon: entries, batches, pins that outlive who made them, and what a refusal says. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ensureBpffs, loadPrograms, removePins } from '../../src/dataplane/ebpf/bpf.js';
import type { BpfMap, LoadedPrograms } from '../../src/dataplane/ebpf/bpf.js';
import { native } from '../../src/runtime/native.js';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import { TestBpffs } from '../support/bpf-object.js';

const addon = fileURLToPath(new URL('../../native/build/Release/skep_native.node', import.meta.url));
const source = `
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(map_flags, BPF_F_NO_PREALLOC); __uint(max_entries, 20000); __type(key, struct vip_key); __type(value, __u32); } hash SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 20000); __type(key, struct vip_key); __type(value, __u32); } lru SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 10000); __type(key, __u32); __type(value, struct real_server); } array SEC(".maps");
static const volatile __u32 constant = 7;
SEC("tc") int answer(struct __sk_buff *skb) { skb->mark += constant; return skb->len > 100 ? 2 : 0; }
`;

let bpffs: TestBpffs;
let object: string;
beforeAll(() => {
  bpffs = new TestBpffs();
  object = bpffs.compile(source);
});
afterAll(() => bpffs[Symbol.dispose]());

let pins: string;
let pinsMade = 0;
beforeEach(() => {
  pins = `${bpffs.pins}-${pinsMade++}`;
});

const load = (capacities: Record<string, number> = {}): LoadedPrograms =>
  loadPrograms({ objectPath: object, pinDirectory: pins, capacities });

function mapOf(loaded: LoadedPrograms, name: string): BpfMap {
  const map = loaded.maps.get(name);
  if (!map) throw new Error(`no map ${name}`);
  return map;
}

function word(number: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(number);
  return buffer;
}
const key = (number: number): Buffer => Buffer.concat([word(number), word(0)]);
const entries = (from: number, to: number): { key: Buffer; value: Buffer }[] =>
  Array.from({ length: to - from }, (_, i) => ({ key: key(from + i), value: word(3 * (from + i)) }));

describe('entries', () => {
  test.each(['hash', 'lru'])('of a %s: one, many, all', (name) => {
    using loaded = load();
    const map = mapOf(loaded, name);
    expect([map.keyBytes, map.valueBytes, map.entriesMax]).toEqual([8, 4, 20_000]);
    expect(map.getAll()).toEqual([]);
    map.put(key(1), word(5));
    map.put(key(1), word(6));
    expect(map.get(key(1))).toEqual(word(6));
    expect(map.get(key(2))).toBeNull();
    expect([map.delete(key(1)), map.delete(key(1))]).toEqual([true, false]);

    map.putMany(entries(0, 10_000));
    const all = map.getAll();
    const numbers = all.map((entry) => [entry.key.readUInt32LE(), entry.value.readUInt32LE()]);
    expect(numbers.sort(([a = 0], [b = 0]) => a - b)).toEqual(
      Array.from({ length: 10_000 }, (_, i) => [i, 3 * i]),
    );
    expect(map.getAll(4_500)).toHaveLength(4_500);
    // Absent ones among them, at the start, in the middle and at the end.
    const some = [20_001, 0, 1, 20_002, 20_003, ...Array.from({ length: 8_000 }, (_, i) => 2 + i), 20_004];
    expect(map.deleteMany(some.map(key))).toBe(8_002);
    expect(map.getAll()).toHaveLength(1_998);
    expect(map.deleteMany([])).toBe(0);
    map.putMany([]);
  });

  test('of a hash asked for one at a time: whole buckets, each entry once', () => {
    using loaded = load();
    const map = mapOf(loaded, 'hash') as BpfMap & { readonly fd: number };
    map.putMany(entries(0, 10_000));
    const seen = new Set<number>();
    let calls = 0;
    let [count, cursor]: [number, Buffer | null] = [0, null];
    do {
      const batch = native().bpfGetBatch(map.fd, cursor, 1);
      for (let i = 0; i < batch.count; i++) seen.add(batch.keys.readUInt32LE(8 * i));
      count += batch.count;
      cursor = batch.cursor;
      calls += 1;
    } while (cursor);
    expect([seen.size, count]).toEqual([10_000, 10_000]);
    expect(calls).toBeLessThan(10_000); // some buckets held several
  });

  test('of a hash that is full', () => {
    using loaded = load({ hash: 2 });
    const map = mapOf(loaded, 'hash');
    map.putMany(entries(0, 2));
    expect(() => map.put(key(7), word(7))).toThrowError(
      expect.objectContaining({ name: 'KernelError', code: 'E2BIG', retryable: false }),
    );
    expect(() => map.putMany(entries(1, 9))).toThrow(KernelError);
    expect(map.getAll()).toHaveLength(2);
  });

  test('of an array: all are there, ranges across chunks', () => {
    using loaded = load();
    const map = mapOf(loaded, 'array');
    expect(map.get(word(9_999))).toEqual(Buffer.alloc(24));
    expect(map.get(word(10_000))).toBeNull();
    const values = Buffer.alloc(24 * 9_000);
    for (let i = 0; i < 9_000; i++) values.writeUInt32LE(i + 1, 24 * i);
    map.putRange(500, values);
    expect(map.getRange(500, 9_000).equals(values)).toBe(true);
    expect(
      map
        .getRange(0, 10_000)
        .subarray(24 * 500, 24 * 9_500)
        .equals(values),
    ).toBe(true);
    expect(map.getRange(499, 2).readUInt32LE(24)).toBe(1);
    expect(map.getRange(9_999, 1)).toEqual(Buffer.alloc(24));
    expect(map.getRange(0, 0)).toEqual(Buffer.alloc(0));
    expect(map.getAll()).toHaveLength(10_000);
    expect(() => map.getRange(9_999, 2)).toThrow(/out of bounds/);
    expect(() => map.putRange(9_999, Buffer.alloc(48))).toThrow(/out of bounds/);
    expect(() => map.put(word(10_000), Buffer.alloc(24))).toThrow(/E2BIG/);
  });

  test.each([
    ['as large as its slot', 'struct real_server'],
    ['smaller than its slot', '__u32'],
  ])('of an array that is mapped, a value %s: ranges as system calls give them', (_, type) => {
    const mapped = bpffs.compile(`
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 10000); __type(key, __u32); __type(value, ${type}); } mapped SEC(".maps");
`);
    using loaded = loadPrograms({ objectPath: mapped, pinDirectory: pins });
    const map = mapOf(loaded, 'mapped');
    const values = Buffer.alloc(map.valueBytes * 9_000);
    for (let i = 0; i < 9_000; i++) values.writeUInt32LE(i + 1, map.valueBytes * i);
    map.putRange(500, values);
    const byCalls = Buffer.concat(map.getAll().map(({ value }) => value));
    for (const [first, count] of [
      [0, 10_000],
      [500, 9_000],
      [511, 1],
      [4_321, 1_234],
      [9_999, 1],
      [77, 0],
    ] as const)
      expect(map.getRange(first, count)).toEqual(
        byCalls.subarray(first * map.valueBytes, (first + count) * map.valueBytes),
      );
    expect(() => map.getRange(9_999, 2)).toThrow(/out of bounds/);
    const begin = map.getRange(0, 9_500);
    expect([map.beginsWith(begin, 500), map.beginsWith(begin, 0)]).toEqual([true, true]);
    expect(map.beginsWith(Buffer.alloc(map.valueBytes * 500), 0)).toBe(true);
    expect(map.beginsWith(Buffer.alloc(map.valueBytes * 500), 1)).toBe(false);
    expect(map.beginsWith(begin.subarray(map.valueBytes), 0)).toBe(false);
    expect(() => map.beginsWith(begin, 501)).toThrow(/out of bounds/);
    map.put(word(9_999), Buffer.alloc(map.valueBytes, 1));
    expect([map.beginsWith(begin, 500), map.beginsWith(begin, 499)]).toEqual([false, true]);
    map.put(word(511), Buffer.alloc(map.valueBytes, 7));
    expect(map.beginsWith(begin, 0)).toBe(false);
    expect(map.getRange(511, 1)).toEqual(Buffer.alloc(map.valueBytes, 7));
  });

  test('a key or value of another length never reaches the kernel', () => {
    using loaded = load();
    const map = mapOf(loaded, 'hash');
    expect(() => map.get(word(1))).toThrow(/wrong length/);
    expect(() => map.put(key(1), key(1))).toThrow(/wrong length/);
    expect(() => map.putMany([{ key: key(1), value: key(1) }])).toThrow(/wrong length/);
    expect(() => map.deleteMany([word(1)])).toThrow(/wrong length/);
  });

  test('a map that is closed says so', () => {
    const loaded = load();
    const map = mapOf(loaded, 'hash');
    const open = readdirSync('/proc/self/fd').length;
    loaded[Symbol.dispose]();
    loaded[Symbol.dispose]();
    expect(readdirSync('/proc/self/fd')).toHaveLength(open - 4);
    expect(() => map.get(key(1))).toThrow(/is closed/);
  });
});

describe('loading', () => {
  test('gives maps of their capacity, programs with their tags, and nothing of the object’s own', () => {
    using loaded = load({ hash: 77 });
    expect([...loaded.maps.keys()].sort()).toEqual(['array', 'hash', 'lru']);
    expect(mapOf(loaded, 'hash').entriesMax).toBe(77);
    expect([...loaded.programs.keys()]).toEqual(['answer']);
    expect(loaded.programs.get('answer')?.tag).toMatch(/^[0-9a-f]{16}$/);
    expect(loaded.reused.size).toBe(0);
    expect(readdirSync(pins).sort()).toEqual(['array', 'hash', 'lru']);
    using again = load();
    expect(again.programs.get('answer')?.tag).toBe(loaded.programs.get('answer')?.tag);
    expect(again.programs.get('answer')?.id).not.toBe(loaded.programs.get('answer')?.id);
  });

  test('what was pinned is used with what is in it and the capacity it has', () => {
    {
      using first = load({ hash: 1_000 });
      mapOf(first, 'hash').put(key(1), word(2));
    }
    using second = load({ hash: 5_000 });
    expect([...second.reused].sort()).toEqual(['array', 'hash', 'lru']);
    expect(mapOf(second, 'hash').entriesMax).toBe(1_000);
    expect(mapOf(second, 'hash').get(key(1))).toEqual(word(2));
  });

  test('kill -9 of the process that loaded loses nothing', async () => {
    const child = spawn(process.execPath, [
      '-e',
      `const native = require(process.argv[1]);
       const { maps } = native.bpfLoad(process.argv[2], process.argv[3], {});
       native.bpfPut(maps.hash.fd, Buffer.alloc(8, 1), Buffer.alloc(4, 2));
       native.bpfPut(maps.lru.fd, Buffer.alloc(8, 3), Buffer.alloc(4, 4));
       console.log('written');
       setInterval(() => undefined, 1000);`,
      addon,
      object,
      pins,
    ]);
    await once(child.stdout, 'data');
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    expect(await exit).toEqual([null, 'SIGKILL']);
    using loaded = load();
    expect(loaded.reused.size).toBe(3);
    expect(mapOf(loaded, 'hash').getAll()).toEqual([{ key: Buffer.alloc(8, 1), value: Buffer.alloc(4, 2) }]);
    expect(mapOf(loaded, 'lru').get(Buffer.alloc(8, 3))).toEqual(Buffer.alloc(4, 4));
  });

  test('a pinned map of another layout is refused and left as it is', () => {
    {
      using first = load();
      mapOf(first, 'hash').put(key(1), word(2));
    }
    const changed = bpffs.compile(
      source.replace('struct vip_key); __type(value, __u32)', 'struct vip_key); __type(value, __u64)'),
    );
    const open = readdirSync('/proc/self/fd').length;
    expect(() => loadPrograms({ objectPath: changed, pinDirectory: pins })).toThrowError(
      expect.objectContaining({
        code: 'EEXIST',
        message: expect.stringMatching(
          /hash is a map of another layout: .* value 4.* wanted .* value 8/,
        ) as string,
      }),
    );
    expect(readdirSync('/proc/self/fd')).toHaveLength(open);
    using loaded = load();
    expect(mapOf(loaded, 'hash').get(key(1))).toEqual(word(2));
  });

  test('a program that the verifier refuses: its last words are in the error, nothing is pinned', () => {
    const lines = Array.from({ length: 500 }, (_, i) => `sum += skb->cb[${i % 5}] * ${i + 3};`).join(' ');
    const bad = bpffs.compile(`
      struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } one SEC(".maps");
      SEC("tc") int bad(struct __sk_buff *skb) {
        __u32 index = skb->mark;
        __u64 sum = 0;
        ${lines}
        __u64 *value = bpf_map_lookup_elem(&one, &index);
        return *value + sum; // without a look whether it is NULL
      }`);
    let thrown: unknown;
    try {
      loadPrograms({ objectPath: bad, pinDirectory: pins });
    } catch (err) {
      thrown = err;
    }
    expect(thrown).toBeInstanceOf(KernelError);
    expect(thrown).toMatchObject({
      code: 'EACCES',
      message: expect.stringContaining("invalid mem access 'map_value_or_null'") as string,
    });
    expect((thrown as Error).message.length).toBeLessThan(4_096);
    expect(readdirSync(pins)).toEqual([]);
  });

  test('nothing of it is written to standard error', () => {
    const { stderr, stdout } = spawnSync(
      process.execPath,
      [
        '-e',
        `try { require(process.argv[1]).bpfLoad('/nonexistent.o', process.argv[2], {}) } catch (err) { console.log(err.code) }`,
        addon,
        pins,
      ],
      { encoding: 'utf8' },
    );
    expect([stdout.trim(), stderr]).toEqual(['ENOENT', '']);
  });

  test('without the right to it the errno is EPERM', () => {
    const { stdout } = spawnSync(
      'setpriv',
      [
        '--bounding-set=-all',
        '--inh-caps=-all',
        process.execPath,
        '-e',
        `try { require(process.argv[1]).bpfLoad(process.argv[2], process.argv[3], {}) } catch (err) { console.log(err.code) }`,
        addon,
        object,
        pins,
      ],
      { encoding: 'utf8' },
    );
    expect(stdout.trim()).toBe('EPERM');
  });
});

describe('the file system', () => {
  test('is mounted where there is none, once; removing pins leaves nothing', () => {
    const directory = mkdtempSync(join(tmpdir(), 'skeptest-bpf-'));
    const own = join(directory, 'node1');
    try {
      ensureBpffs(join(own, 'v1'));
      ensureBpffs(join(own, 'v1'));
      {
        using loaded = loadPrograms({ objectPath: object, pinDirectory: join(own, 'v1') });
        mapOf(loaded, 'hash').put(key(1), word(2));
      }
      removePins(join(own, 'v1'));
      removePins(join(own, 'v1'));
      expect(existsSync(join(own, 'v1'))).toBe(false);
      using loaded = loadPrograms({ objectPath: object, pinDirectory: join(own, 'v1') });
      expect(loaded.reused.size).toBe(0);
      expect(mapOf(loaded, 'hash').get(key(1))).toBeNull();
    } finally {
      // One mount and no second one above it.
      expect(spawnSync('umount', [own]).status).toBe(0);
      expect(spawnSync('mountpoint', ['-q', own]).status).not.toBe(0);
      rmSync(directory, { recursive: true });
    }
  });

  test('one that cannot be made is an error with its path', () => {
    expect(() => ensureBpffs('/etc/hostname/skep/v1')).toThrow(
      /mount a BPF file system at \/etc\/hostname\/skep: ENOTDIR/,
    );
  });
});
