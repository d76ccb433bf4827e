/** Every `skep` command and option that the documentation names exists, and so does what sessions of the runner `checked` type. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { faultsOfSkepCommands, labVerbs } from '../../support/documentation/commands.js';
import { checkout, typedPages } from '../../support/documentation/page.js';
import { sessionsOf } from '../../support/documentation/session.js';

const { scripts } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

describe('every skep command that a page names is there, with its options', () => {
  test.each(typedPages().map((page) => [page.path, page] as const))('%s', (_, page) => {
    const typed = page.fences
      .filter(({ info }) => info[0] === 'console')
      .flatMap(({ lines }) => lines.filter((line) => /^[$>] /.test(line)));
    const faults = [...page.codes, ...typed].flatMap((text) => faultsOfSkepCommands(text));
    expect(faults).toEqual([]);
  });
});

test.each([
  ['skep verify --repair --json', []],
  ['bin/skep lab exec node1 --name demo -- docker service ls --nonsense', []],
  ['docker exec x; skep restore --advertise-addr 192.0.2.1 FILE', []],
  ['skep trace web --from CLIENT | grep --color STOPS', []],
  ['docker --context skep …', []],
  ['skep verfy', ['no such command: skep verfy']],
  ['skep config lint', ['no such command: skep config lint']],
  ['skep config check FILE --json', []],
  ['skep lab up --package FILE', []],
  ['echo a && skep status --yaml', ['skep status has no option --yaml']],
  ['/usr/bin/skep lab up --nonsense', ['skep lab has no option --nonsense']],
])('%s: %j', (text, faults) => {
  expect(
    faultsOfSkepCommands(text).map((fault) => fault.replace(/: \/?skep s.*|: \S*skep lab.*/, '')),
  ).toEqual(faults);
});

describe('what nobody types', () => {
  const checked = typedPages()
    .flatMap(sessionsOf)
    .flatMap((block) => (block.kind === 'session' && block.runner === 'checked' ? block.steps.map((step) => [block.where, step] as const) : [])); // prettier-ignore
  test.each(checked.map(([where, { command, expected }]) => [where, command, expected] as const))(
    '%s: %s',
    (_, command, expected) => {
      expect(expected, 'nobody says what it prints').toEqual([]);
      const [, script] = /^npm (?:run )?([\w:-]+)$/.exec(command) ?? [];
      const [, verb] = /^bin\/skep lab ([a-z]+)( --\w[^|;&]*)?$/.exec(command) ?? [];
      if (script !== undefined) expect(scripts).toHaveProperty([script]);
      else {
        expect(labVerbs(), command).toContain(verb);
        expect(faultsOfSkepCommands(command)).toEqual([]);
      }
    },
  );
});
