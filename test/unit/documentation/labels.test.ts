/** docs/labels.md has every label that the code knows, and no other. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { rebalanceLabel } from '../../../src/model/rebalancing.js';
import { checkout, readPage } from '../../support/documentation/page.js';

/** What begins so and is no label: the option of an endpoint, in which an attachment keeps its aliases. */
const noLabels = ['skep.aliases'];

function labelsOfCode(): string[] {
  const files = readdirSync(join(checkout, 'src'), { recursive: true, encoding: 'utf8' });
  const texts = files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(join(checkout, 'src', file), 'utf8'));
  const found = texts.flatMap((text) =>
    [...text.matchAll(/'(skep\.[a-z-]+(?:\.[a-z-]+)*)'/g)].map(([, label = '']) => label),
  );
  return [...new Set(found)].filter((label) => !noLabels.includes(label)).sort();
}

/** First cells of the page's tables. */
const labelsOfPage = (): string[] =>
  [...readFileSync(join(checkout, 'docs/labels.md'), 'utf8').matchAll(/^\| `(skep\.[^`]+)` +\|/gm)].map(([, label = '']) => label); // prettier-ignore

test('the page has each label once, in one of its tables', () => {
  expect(labelsOfCode()).toContain(rebalanceLabel);
  expect(labelsOfPage().sort()).toEqual(labelsOfCode());
});

test('labels that other pages and sessions name are labels', () => {
  const known = labelsOfCode();
  for (const path of ['README.md', 'docs/coming-from-swarm.md', 'docs/networking.md', 'docs/labels.md']) {
    const page = readPage(path);
    const typed = page.fences.flatMap(({ lines }) => lines.filter((line) => line.startsWith('$ ')));
    const named = [...page.codes, ...typed].flatMap(
      (text) => text.match(/\bskep\.[a-z-]+(?:\.[a-z-]+)*/g) ?? [],
    );
    const strange = named.filter(
      (name) => !known.some((label) => label === name || label.startsWith(`${name}.`)),
    );
    // Groups of labels are named by what they begin with; the configuration's file has a name like one.
    expect([path, strange.filter((name) => name !== 'skep.toml')]).toEqual([path, []]);
  }
});
