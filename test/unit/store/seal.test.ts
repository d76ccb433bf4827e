import assert from 'node:assert/strict';
import { test } from 'vitest';
import { Sealer, newDataKey } from '../../../src/controlplane/store/seal.js';

const path = '/skep/v1/task/t1';
const plain = Buffer.from('{"env":["TOKEN=hush"]}');
const fixed = (value: number) => (size: number) => new Uint8Array(size).fill(value);
const key = newDataKey(1, fixed(1));
const sealer = new Sealer(key);

test('what is sealed opens at its path, and twice the same is never the same bytes', () => {
  const [a, b] = [sealer.seal(path, plain), sealer.seal(path, plain)];
  assert.deepEqual(sealer.open(path, a), plain);
  assert.notDeepEqual(a, b);
  assert(!a.toString('latin1').includes('hush'));
});

test('the form is fixed: version, key id, nonce, text, tag', () => {
  const sealed = new Sealer(newDataKey(0x01020304, fixed(1)), [], fixed(9)).seal(path, plain);
  assert.equal(sealed.length, 1 + 4 + 12 + plain.length + 16);
  assert.equal(sealed.subarray(0, 17).toString('hex'), `0101020304${'09'.repeat(12)}`);
});

test('any changed bit, a cut, another path or another key does not open, and nothing of it is told', () => {
  const sealed = sealer.seal(path, plain);
  const flipped = Array.from(sealed, (_, i) => {
    const copy = Buffer.from(sealed);
    copy[i] = (copy[i] ?? 0) ^ 1;
    return copy;
  });
  const cut = [Buffer.alloc(0), sealed.subarray(0, 20), sealed.subarray(0, sealed.length - 1)];
  const refuses = (attempt: () => unknown, at: string): void =>
    assert.throws(attempt, {
      name: 'AssertionError',
      message: `the stored value of ${at} cannot be opened with this data key`,
    });
  for (const bad of [...flipped, ...cut]) refuses(() => sealer.open(path, bad), path);
  refuses(() => sealer.open('/skep/v1/task/t2', sealed), '/skep/v1/task/t2');
  refuses(() => new Sealer(newDataKey(1, fixed(2))).open(path, sealed), path);
  refuses(() => new Sealer(newDataKey(2, fixed(2))).open(path, sealed), path);
});

test('after a rotation old values open and new ones bear the new key', () => {
  const rotated = new Sealer(newDataKey(2, fixed(2)), [key]);
  assert.deepEqual(rotated.open(path, sealer.seal(path, plain)), plain);
  assert.equal(rotated.seal(path, plain).readUInt32BE(1), 2);
});

test('index entries depend on key, kind and name, and do not tell the name', () => {
  const entries = [
    sealer.indexEntry('service', 'web'),
    sealer.indexEntry('network', 'web'),
    sealer.indexEntry('service', 'web2'),
    new Sealer(newDataKey(1, fixed(2))).indexEntry('service', 'web'),
  ];
  assert.equal(new Set(entries).size, 4);
  for (const entry of entries) assert.match(entry, /^[0-9a-f]{64}$/);
  assert.equal(sealer.indexEntry('service', 'web'), entries[0]);
});
