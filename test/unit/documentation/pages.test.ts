/** Laws of all pages: links lead somewhere, every command has somebody who types it, and what is typed can be. */
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { playedPages } from '../../support/documentation/order.js';
import {
  checkout,
  isInCheckout,
  linkedPages,
  readPage,
  typedPages,
} from '../../support/documentation/page.js';
import type { Page } from '../../support/documentation/page.js';
import { forms, placeholdersOf } from '../../support/documentation/pattern.js';
import { runners, sessionsOf } from '../../support/documentation/session.js';
import type { RunnerName, Session } from '../../support/documentation/session.js';

const pages = linkedPages();
const typed = typedPages();
const sessions = (page: Page): Session[] =>
  sessionsOf(page).flatMap((block) => (block.kind === 'session' ? [block] : []));
const all = typed.flatMap(sessions);

test.each(pages.map((page) => [page.path, page] as const))('links of %s lead somewhere', (_, page) => {
  const faults = page.links.flatMap(({ line, path, anchor }) => {
    const target = path === '' ? page.path : normalize(join(dirname(page.path), path));
    if (!isInCheckout(target)) return [`line ${line}: there is no ${target}`];
    if (anchor === '') return [];
    const anchors = pages.find((other) => other.path === target)?.anchors;
    return anchors?.has(anchor) ? [] : [`line ${line}: ${target} has no heading #${anchor}`];
  });
  expect(faults).toEqual([]);
});

test('the index has every page', () => {
  const index = readPage('docs/README.md');
  const linked = index.links.map(({ path }) => normalize(join('docs', path)));
  const inDocs = pages.map(({ path }) => path).filter((path) => /^docs\/[^/]+$/.test(path));
  expect(inDocs.filter((path) => path !== 'docs/README.md' && !linked.includes(path))).toEqual([]);
});

describe.each(typed.map((page) => [page.path, page] as const))('%s', (path, page) => {
  test('shows commands in fences of consoles alone', () => {
    const others = page.fences.filter(({ info }) => info[0] !== 'console');
    const hidden = others.filter(({ info, lines }) => {
      const isShell = ['sh', 'bash', 'shell'].includes(info[0] ?? '');
      return isShell || lines.some((line) => /^\s*(\$ |(sudo |bin\/)?(docker|skep|npm|systemctl|apt-get|vagrant) [-a-z])/.test(line)); // prettier-ignore
    });
    expect(hidden.map(({ line }) => `${path}:${line}`)).toEqual([]);
  });

  test('is typed in the lab, if there is something to type', () => {
    const isPlayed = sessionsOf(page).some((block) => block.kind === 'file' || block.runner === 'lab');
    expect([path, playedPages.includes(path)]).toEqual([path, isPlayed]);
  });
});

describe('runners', () => {
  test.each(Object.entries(runners))('%s has sessions, and a file that types them', (name, { file }) => {
    expect(all.filter(({ runner }) => runner === (name as RunnerName))).not.toEqual([]);
    const text = readFileSync(join(checkout, file), 'utf8');
    expect([file, text.includes('sessionsOf'), text.includes(`'${name}'`)]).toEqual([file, true, true]);
  });
});

/** Commands that may be typed again and again until they print what they should. */
const repeatable = [
  /^docker (--tls\S+ (\S+\.pem )?|-H \S+ )*(info|(node|service|stack|config|network) (ls|ps|inspect|services))\b/,
  /^docker node rm --force node\d$/,
  /^docker swarm unlock-key --quiet$/,
  /^docker exec \$\(docker ps -q --filter name=\w+\) (nslookup|wget|cat) /,
  /^(bin\/skep lab (exec node\d|client) --name \w+ -- )?(curl -sS?|skep (doctor|verify|status|trace)|docker service ls)\b/,
  /^for node in [\d ]+; do curl -s[^;]*; done$/,
  /^(grep -c|iptables -S) /,
];

describe.each(all.map((session) => [session.where, session] as const))('%s', (_, session) => {
  const { steps, eventually, fails, machine } = session;

  test('names what can be matched, and types nothing twice that changes something', () => {
    const unknown = steps.flatMap(({ command, expected }) =>
      placeholdersOf([command, ...expected].join('\n')).filter((name) => forms[name] === undefined),
    );
    expect(unknown).toEqual([]);
    const unsafe = steps.filter(
      ({ command }) => eventually && !repeatable.some((pattern) => pattern.test(command)),
    );
    expect(unsafe.map(({ command }) => command)).toEqual([]);
  });

  test('says what a refusal says, and what is waited for', () => {
    for (const { command, expected } of steps) {
      const says = expected.some((line) => line.trim() !== '...');
      if (fails) expect([command, says]).toEqual([command, true]);
    }
    // To wait until something prints anything would be to wait for nothing.
    if (eventually && steps.every(({ expected }) => expected.length > 0))
      expect(steps.some(({ expected }) => expected.some((line) => line.trim() !== '...'))).toBe(true);
  });

  test('has power where it is typed', () => {
    expect(session.off).not.toContain(machine);
  });
});

test('a command uses what a session before it has printed', () => {
  const known = new Set<string>();
  const early: string[] = [];
  for (const page of playedPages.map(readPage))
    for (const { where, steps, runner } of sessions(page))
      for (const { command, expected } of runner === 'lab' ? steps : []) {
        for (const name of placeholdersOf(command)) if (!known.has(name)) early.push(`${where}: <${name}>`);
        for (const name of placeholdersOf(expected.join('\n'))) if (forms[name]?.bound) known.add(name);
      }
  expect(early).toEqual([]);
});

test('every form is of use', () => {
  const used = new Set(all.flatMap(({ steps }) => steps.flatMap(({ expected }) => placeholdersOf(expected.join('\n'))))); // prettier-ignore
  expect(Object.keys(forms).filter((name) => !used.has(name))).toEqual([]);
});
