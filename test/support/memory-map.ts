/** A BPF map in memory, for tests of what is written to maps: a hash, or an array whose entries are all there. */
import assert from 'node:assert';
import type { BpfMap, MapEntry } from '../../src/dataplane/ebpf/bpf.js';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';

export class MemoryMap implements BpfMap {
  /** Of a hash, by the key in hex. */
  readonly #values = new Map<string, Buffer>();
  /** Of an array, one after the other. */
  readonly #octets: Buffer;
  /** System calls the same work would have taken at most: one a single operation, one a thousand entries of a batch. */
  calls = 0;
  /** Entries written or deleted. */
  changes = 0;

  constructor(
    readonly kind: 'array' | 'hash',
    readonly name: string,
    readonly keyBytes: number,
    readonly valueBytes: number,
    readonly entriesMax: number,
  ) {
    assert(kind === 'hash' || keyBytes === 4, 'the key of an array is its index');
    this.#octets = Buffer.alloc(kind === 'array' ? entriesMax * valueBytes : 0);
  }

  get(key: Buffer): Buffer | null {
    this.calls += 1;
    return this.#get(key);
  }

  put(key: Buffer, value: Buffer): void {
    this.calls += 1;
    this.#put(key, value);
  }

  delete(key: Buffer): boolean {
    this.calls += 1;
    return this.#delete(key);
  }

  getAll(countMax = Infinity): MapEntry[] {
    const keys =
      this.kind === 'array'
        ? Array.from({ length: Math.min(this.entriesMax, countMax) }, (_, index) => indexKey(index))
        : [...this.#values.keys()].slice(0, countMax).map((hex) => Buffer.from(hex, 'hex'));
    this.#count(keys.length);
    return keys.map((key) => ({ key, value: this.#get(key) ?? Buffer.alloc(this.valueBytes) }));
  }

  putMany(entries: readonly MapEntry[]): void {
    this.#count(entries.length);
    for (const { key, value } of entries) this.#put(key, value);
  }

  deleteMany(keys: readonly Buffer[]): number {
    this.#count(keys.length);
    return keys.filter((key) => this.#delete(key)).length;
  }

  getRange(firstIndex: number, count: number): Buffer {
    assert(this.kind === 'array' && firstIndex >= 0 && firstIndex + count <= this.entriesMax);
    this.#count(count);
    const at = firstIndex * this.valueBytes;
    return Buffer.from(this.#octets.subarray(at, at + count * this.valueBytes));
  }

  beginsWith(values: Buffer, zeros: number): boolean {
    const count = values.length / this.valueBytes + zeros;
    return this.getRange(0, count).equals(Buffer.concat([values], count * this.valueBytes));
  }

  putRange(firstIndex: number, values: Buffer): void {
    const count = values.length / this.valueBytes;
    assert(this.kind === 'array' && Number.isInteger(count));
    assert(firstIndex >= 0 && firstIndex + count <= this.entriesMax);
    this.#count(count);
    this.changes += count;
    values.copy(this.#octets, firstIndex * this.valueBytes);
  }

  #count(entries: number): void {
    this.calls += Math.ceil(entries / 1000);
  }

  #get(key: Buffer): Buffer | null {
    assert.equal(key.length, this.keyBytes);
    if (this.kind === 'array') {
      const at = key.readUInt32LE() * this.valueBytes;
      return at < this.#octets.length ? Buffer.from(this.#octets.subarray(at, at + this.valueBytes)) : null;
    }
    const value = this.#values.get(key.toString('hex'));
    return value ? Buffer.from(value) : null;
  }

  #put(key: Buffer, value: Buffer): void {
    assert.equal(key.length, this.keyBytes);
    assert.equal(value.length, this.valueBytes);
    const hex = key.toString('hex');
    const full =
      this.kind === 'array'
        ? key.readUInt32LE() >= this.entriesMax
        : this.#values.size >= this.entriesMax && !this.#values.has(hex);
    if (full) throw new KernelError(`put into map ${this.name}`, 'E2BIG');
    this.changes += 1;
    if (this.kind === 'array') value.copy(this.#octets, key.readUInt32LE() * this.valueBytes);
    else this.#values.set(hex, Buffer.from(value));
  }

  #delete(key: Buffer): boolean {
    assert.equal(key.length, this.keyBytes);
    assert(this.kind === 'hash', 'the entries of an array stay');
    const deleted = this.#values.delete(key.toString('hex'));
    if (deleted) this.changes += 1;
    return deleted;
  }
}

function indexKey(index: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  return key;
}
