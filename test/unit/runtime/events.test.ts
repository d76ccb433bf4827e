/** The table of events against the code that writes them, and against docs/logs.md, which SKEP_UPDATE=1 writes anew. */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { events } from '../../../src/model/events.js';
import type { EventName } from '../../../src/model/events.js';
import { logsDocument } from '../../support/logs-document.js';

const checkout = resolve(import.meta.dirname, '../../..');
const names = Object.keys(events) as EventName[];

interface Source {
  readonly path: string;
  readonly text: string;
}

const sources: readonly Source[] = readdirSync(join(checkout, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && path !== 'model/events.ts')
  .map((path) => ({ path, text: readFileSync(join(checkout, 'src', path), 'utf8') }));
/** Where an event is named: by `decide` itself, or as data that goes there (store-events.ts). */
const placesOf = (name: EventName): readonly string[] =>
  sources.filter(({ text }) => text.includes(`'${name}'`)).map(({ path }) => path);

test.each(names)('%s is written by the daemon that the table names, and by no other', (name) => {
  const directory = events[name].by === 'skepd' ? 'controlplane/' : 'dataplane/';
  const places = placesOf(name);
  expect(places.length).toBeGreaterThan(0);
  expect(places.filter((path) => !path.startsWith(directory))).toEqual([]);
});

test.each(names)(
  '%s: what it is about is a field that it always has, and its texts are sentences',
  (name) => {
    const { of, fields, message, meaning } = events[name];
    if (of !== null) expect(Object.keys(fields)).toContain(of);
    // What every line has: a second field of that name would hide it.
    for (const field of [
      'time',
      'level',
      'name',
      'pid',
      'hostname',
      'msg',
      'event',
      'trace_id',
      'trace_ids',
      'left_out',
    ])
      expect(Object.keys(fields)).not.toContain(field);
    expect(message).toMatch(/^[a-z].*[^.]$/);
    expect(meaning).toMatch(/^[A-Z].*\.$/);
    expect(name).toMatch(/^[a-z]+\.[a-z-]+$/);
  },
);

test('no line says by itself what an event says: there is one place for each', () => {
  const messages = new Set<string>(names.map((name) => events[name].message));
  const plain = /\blog\(?\)?\s*\.(?:debug|info|warn|error)\(\s*(?:\{[^}]*\},\s*)?['"]([^'"]+)['"]/g;
  const twice = sources.flatMap(({ path, text }) =>
    [...text.matchAll(plain)].flatMap(([, message = '']) =>
      messages.has(message) ? [`${path}: ${message}`] : [],
    ),
  );
  expect(twice).toEqual([]);
  // The pattern finds what there is of such lines.
  expect(sources.flatMap(({ text }) => [...text.matchAll(plain)]).length).toBeGreaterThan(30);
});

test('docs/logs.md is the table', () => {
  const file = join(checkout, 'docs/logs.md');
  const text = logsDocument();
  if (process.env['SKEP_UPDATE'] === '1') writeFileSync(file, text);
  expect(readFileSync(file, 'utf8')).toBe(text);
});
