/**
 * Encrypted overlays in user-mode Linux, whose kernel has ESP: nothing of what containers say is seen on the underlay, in no
 * step of a key's life, and without a key nothing leaves at all. SKEP_ROTATIONS sets how many rotations are gone through.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { buildGuestProgram } from './guest-program.js';
import type { Report } from './user-mode-linux.js';
import { runScenario } from './user-mode-linux.js';

let reports: readonly Report[] = [];
const step = (name: string): Report => {
  const found = reports.find((report) => report['step'] === name);
  if (!found) throw new Error(`the guest told nothing of: ${name}`);
  return found;
};
const rotations = process.env['SKEP_ROTATIONS'] ?? '5';
const unseen = { clear: 0, marked: 0 };

beforeAll(async () => {
  await using program = await buildGuestProgram();
  const scenario = program.path('test/uml/guest/encryption.ts');
  reports = await runScenario(scenario, 210_000, { SKEP_ROTATIONS: rotations });
  if (process.env['SKEP_TEST_REPORT']) for (const report of reports) console.log(JSON.stringify(report));
}, 220_000);

/** All that was sent was answered, and none of it could be read on the way. */
function expectWhole(report: Report, atLeast = 50): void {
  expect(report['answered']).toBe(report['sent']);
  expect(report['sent']).toBeGreaterThanOrEqual(atLeast);
  expect(report['seen']).toMatchObject(unseen);
}

describe('an encrypted overlay', () => {
  for (const name of ['withheld', 'withheld again'])
    test(`no key, no packet: ${name}`, () => {
      expect(step(name)).toMatchObject({ answered: 0, seen: { ...unseen, esp: 0 } });
    });

  test('carries all that containers send, and shows none of it', () => {
    expectWhole(step('steady'), 200);
    expect((step('steady')['seen'] as { esp: number }).esp).toBeGreaterThanOrEqual(400);
  });

  test('the largest packet is one ESP packet of the whole underlay MTU', () => {
    expect(step('largest')).toMatchObject({
      mtu: 1416,
      sent: 1,
      answered: 1,
      seen: { ...unseen, esp: 2, fragments: 0, longest: 1500 },
    });
  });

  test('rotations lose nothing', () => {
    expect(step('rotations')['rotations']).toBe(Number(rotations));
    expectWhole(step('rotations'), 100);
  });

  test('a restart finds its states and keeps them, with no key at hand', () => {
    expectWhole(step('restart'));
    expect(step('restart')['same']).toBe(true);
  });

  test.each(['no policies', 'no states'])('a stranger’s flush shuts until it is repaired: %s', (name) => {
    expect(step(name)).toMatchObject({ answered: 0, seen: { ...unseen, esp: 0 } });
    if (name === 'no policies') expectWhole(step(`${name}, repaired`));
  });

  test('a stranger’s flush of rules leaves the policies, and all goes on', () => {
    expectWhole(step('no rules'));
    expectWhole(step('no rules, repaired'));
  });

  test('states that were flushed are replaced by others, which peers know already', () => {
    expectWhole(step('flushed states'));
    expect(step('flushed states')).toMatchObject({ epochs: 1 });
    expect(step('flushed states')['drift']).toBeGreaterThan(0);
    expectWhole(step('told of the epoch'));
  });

  test('what was not encrypted is not let in', () => {
    expect(step('forged')['got']).toBe(0);
    expect(step('forged, one lock open')['got']).toBe(0);
    expect(step('forged, unguarded')['got']).toBe(3);
    expect(step('forged, repaired')).toMatchObject({ got: 0 });
    expect(step('forged, repaired')['answered']).toBe(step('forged, repaired')['sent']);
  });

  test('opens again when keys are given again', () => expectWhole(step('given again')));

  test('leaves nothing to repair, and nothing of ours when the node leaves', () => {
    expect(step('verify')['differences']).toEqual([]);
    expect(step('left')).toMatchObject({ ours: [], strangers: true });
  });
});
