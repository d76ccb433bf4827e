/** What is made of the table: the commented file and docs/configuration.md; and that nothing is read past it. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { configurationDocument } from '../../../src/options/document.js';
import { exampleText } from '../../../src/options/example.js';
import { readOptions } from '../../../src/options/read.js';
import { options, tableSummaries } from '../../../src/options/table.js';

const checkout = resolve(import.meta.dirname, '../../..');
const defaults = readOptions(undefined, {}).values;

test('the file that a host gets says nothing', () => {
  const { origins, findings } = readOptions(exampleText(), {});
  expect(findings).toEqual([]);
  expect(new Set(Object.values(origins))).toEqual(new Set(['default']));
});

test('with every option uncommented it says the defaults, and every option is in it', () => {
  const { values, origins, findings } = readOptions(exampleText().replaceAll(/^#(?=[a-z])/gm, ''), {});
  expect(findings).toEqual([]);
  expect(values).toEqual(defaults);
  expect(new Set(Object.values(origins))).toEqual(new Set(['file']));
});

test('it is as wide as a terminal is', () => {
  expect(
    exampleText()
      .split('\n')
      .filter((line) => line.length > 110),
  ).toEqual([]);
});

test.each(options.map((option) => [option.name, option] as const))('%s is explained', (_name, option) => {
  const { table, env, kind, example, summary, daemons } = option;
  expect(Object.keys(tableSummaries)).toContain(table);
  expect(env).toMatch(/^[A-Z_]+$/);
  expect(options.filter((each) => each.env === env)).toHaveLength(1);
  expect(summary).toMatch(/^[A-Z].*\.$/);
  expect(daemons.length).toBeGreaterThan(0);
  expect(kind.toData(kind.parse(example))).toEqual(example);
  expect(kind.parse(kind.toData(option.default))).toEqual(option.default);
});

test('docs/configuration.md is what the table says', () => {
  const file = join(checkout, 'docs/configuration.md');
  if (process.env['SKEP_UPDATE'] === '1') writeFileSync(file, configurationDocument());
  expect(readFileSync(file, 'utf8')).toBe(configurationDocument());
});

test('daemons read their environment through the table alone', () => {
  const sources = readdirSync(join(checkout, 'src'), { recursive: true, encoding: 'utf8' }).filter(
    (path) => path.endsWith('.ts') && !/^(?:lab|cli)\//.test(path),
  );
  const reading = sources.filter((path) =>
    readFileSync(join(checkout, 'src', path), 'utf8').includes('process.env'),
  );
  // The mains hand theirs to the reader; etcd gets the PATH that its daemon has.
  expect(reading.sort()).toEqual([
    'controlplane/etcd/supervisor.ts',
    'controlplane/main.ts',
    'dataplane/main.ts',
    'uninstall/main.ts',
  ]);
});
