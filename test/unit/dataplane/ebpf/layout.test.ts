/** The codec's table against native/bpf/layout.h itself: what is there by its text, where it lies by the C compiler. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, test } from 'vitest';
import { enums, limits, mapShapes, structs } from '../../../../src/dataplane/ebpf/layout.js';
import type { Mac } from '../../../../src/model/addresses.js';

const directory = new URL('../../../../native/bpf/', import.meta.url).pathname;
const header = readFileSync(join(directory, 'layout.h'), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
const work = mkdtempSync(join(tmpdir(), 'skep-layout-'));
afterAll(() => rmSync(work, { recursive: true }));

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** What the compiler says of each expression. */
function compiled(expressions: readonly string[]): number[] {
  const source = join(work, 'layout.c');
  const program = join(work, 'layout');
  const lines = expressions.map((expression) => `printf("%lld\\n", (long long)(${expression}));`);
  writeFileSync(
    source,
    `#include <stdio.h>\n#include <stddef.h>\n#include "layout.h"\nint main(void) { ${lines.join('\n')} return 0; }`,
  );
  execFileSync('gcc', ['-I', directory, '-o', program, source]);
  return execFileSync(program, { encoding: 'utf8' }).trim().split('\n').map(Number);
}

test('every struct of the header, field by field, at the compiler’s sizes and offsets', () => {
  const declared = [...header.matchAll(/struct (\w+) \{([^}]*)\}/g)].map(([, name, body]) => ({
    name,
    fields: [...(body ?? '').matchAll(/(\w+)(?:\[\w+\])?;/g)].map(([, field]) => field),
  }));
  const mirrored = Object.entries(structs).map(([name, { fields }]) => ({
    name: snake(name),
    fields: fields.map((field) => snake(field.name)),
  }));
  const byName = (a: { name?: string | undefined }, b: { name?: string | undefined }): number =>
    (a.name ?? '') < (b.name ?? '') ? -1 : 1;
  assert.deepEqual(mirrored.sort(byName), declared.sort(byName));

  const facts = Object.entries(structs).flatMap(([name, { bytes, fields }]) => {
    const type = `struct ${snake(name)}`;
    return [
      { expression: `sizeof(${type})`, value: bytes },
      ...fields.flatMap((field) => [
        { expression: `offsetof(${type}, ${snake(field.name)})`, value: field.offset },
        { expression: `sizeof(((${type} *)0)->${snake(field.name)})`, value: field.bytes },
      ]),
    ];
  });
  const values = compiled(facts.map(({ expression }) => expression));
  assert.deepEqual(
    facts,
    facts.map(({ expression }, i) => ({ expression, value: values[i] })),
  );
});

test('every constant of the header', () => {
  const defined = [...header.matchAll(/^#define (\w+) +\S/gm)].map(([, name]) => name);
  const enumerated = [...header.matchAll(/enum (\w+) \{([^}]*)\}/g)].map(([, name, body]) => [
    name,
    [...(body ?? '').matchAll(/(\w+) = /g)].map(([, member]) => member),
  ]);
  assert.deepEqual(Object.keys(limits).sort(), defined.sort());
  assert.deepEqual(
    Object.fromEntries(Object.entries(enums).map(([name, members]) => [snake(name), Object.keys(members)])),
    Object.fromEntries(enumerated),
  );

  const constants: Record<string, number> = Object.fromEntries(
    [limits, ...Object.values(enums)].flatMap((table) => Object.entries(table)),
  );
  const values = compiled(Object.keys(constants));
  assert.deepEqual(constants, Object.fromEntries(Object.keys(constants).map((name, i) => [name, values[i]])));
});

test('every map that the header speaks of', () => {
  const text = readFileSync(join(directory, 'layout.h'), 'utf8');
  const named = new Set([...text.matchAll(/\bskep_\w+/g)].map(([name]) => name));
  assert.deepEqual(Object.keys(mapShapes).sort(), [...named].sort());
});

test('values survive encoding, and packets’ numbers stand in packets’ order', () => {
  const realServer = {
    virtualServer: 7,
    generation: 0xfffffffe,
    address: 0xf0010203,
    port: 8080,
    mac: '02:42:0a:ff:00:9d' as Mac,
    weight: 1000,
  };
  const octets = structs.realServer.encode(realServer);
  assert.equal(octets.subarray(8, 20).toString('hex'), 'f00102031f9002420aff009d');
  assert.deepEqual(structs.realServer.decode(octets), realServer);

  const totals = {
    connections: 1n,
    packets: 2n ** 60n,
    bytes: 3n,
    replyPackets: 4n,
    replyBytes: 2n ** 64n - 1n,
  };
  const counters = { retired: totals, drops: [0n, 1n, 2n, 3n, 4n, 0n, 0n, 9n] };
  assert.deepEqual(structs.virtualCounters.decode(structs.virtualCounters.encode(counters)), counters);

  const flow = {
    seenNs: 123456789012345678n,
    realServer: 3,
    generation: 2,
    address: 0x0a000001,
    client: 0,
    port: 53,
    flags: 3,
    virtualServer: 9,
  };
  const two = Buffer.concat([structs.flow.encode({ ...flow, port: 1 }), structs.flow.encode(flow)]);
  assert.deepEqual(structs.flow.decode(two, structs.flow.bytes), flow);
});
