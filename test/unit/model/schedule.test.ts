import { describe, expect, test } from 'vitest';
import { Schedule, faultOfSchedule, scheduleOf } from '../../../src/model/schedule.js';
import { service } from '../../support/cluster-objects.js';

const at = (text: string): number => Date.parse(text);
const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString().replace(':00.000Z', 'Z');

describe('firings', () => {
  test.each([
    ['* * * * *', '2026-01-01T10:00:00.001Z', '2026-01-01T10:00Z', '2026-01-01T10:01Z'],
    ['* * * * *', '2026-01-01T10:00:00Z', '2026-01-01T10:00Z', '2026-01-01T10:01Z'],
    ['*/15 9-17 * * MON-FRI', '2026-01-03T12:00:00Z', '2026-01-02T17:45Z', '2026-01-05T09:00Z'],
    ['0 0 29 2 *', '2026-01-01T00:00:00Z', '2024-02-29T00:00Z', '2028-02-29T00:00Z'],
    // Days of the month and of the week: either, as in every cron.
    ['0 0 13 * FRI', '2026-01-10T00:00:00Z', '2026-01-09T00:00Z', '2026-01-13T00:00Z'],
    ['CRON_TZ=Europe/Berlin 0 3 * * *', '2026-01-01T10:00:00Z', '2026-01-01T02:00Z', '2026-01-02T02:00Z'],
    ['TZ=Asia/Kolkata  0 3 * * *', '2026-01-01T10:00:00Z', '2025-12-31T21:30Z', '2026-01-01T21:30Z'],
    // 02:30 is not on that night in Berlin: the clocks go from 02:00 to 03:00. What is daily is run all the same.
    ['TZ=Europe/Berlin 30 2 * * *', '2026-03-29T00:59:00Z', '2026-03-28T01:30Z', '2026-03-29T01:00Z'],
    // 02:30 comes twice; what is daily is run once.
    ['TZ=Europe/Berlin 30 2 * * *', '2026-10-25T00:30:00Z', '2026-10-25T00:30Z', '2026-10-26T01:30Z'],
    // Every half an hour goes on doing so.
    ['TZ=Europe/Berlin */30 * * * *', '2026-10-25T00:30:00Z', '2026-10-25T00:30Z', '2026-10-25T01:00Z'],
    ['TZ=Europe/Berlin */30 * * * *', '2026-10-25T01:00:00Z', '2026-10-25T01:00Z', '2026-10-25T01:30Z'],
  ])('%s at %s', (text, now, last, next) => {
    const schedule = Schedule.parse(text);
    expect([iso(schedule.upTo(at(now))), iso(schedule.after(at(now)))]).toEqual([last, next]);
  });

  test('forwards and backwards are the same times', () => {
    for (const text of [
      'TZ=Europe/Berlin 30 2 * * *',
      'TZ=America/New_York */20 1-3 * 3,11 *',
      '7 * 1 * 0',
    ]) {
      const schedule = Schedule.parse(text);
      let timeMs = at('2025-01-01T00:00:00Z');
      for (let step = 0; step < 500; step++) {
        const next = schedule.after(timeMs);
        expect(next).toBeGreaterThan(timeMs);
        expect(iso(schedule.upTo(next ?? 0))).toBe(iso(next));
        if (step > 0) expect(iso(schedule.upTo((next ?? 0) - 1))).toBe(iso(timeMs));
        timeMs = next ?? 0;
      }
    }
  });
});

describe('what is refused', () => {
  const fiveFields = 'must be five fields: minute, hour, day of the month, month, day of the week';
  test.each([
    ['', fiveFields],
    ['* * * *', fiveFields],
    ['* * * * * *', fiveFields],
    ['@daily', fiveFields],
    ['2026-01-01T00:00:00', fiveFields],
    ['? * * * *', fiveFields],
    ['TZ=UTC', fiveFields],
    ['60 * * * *', 'Invalid value for minute: 60'],
    ['* * * * 8', 'Invalid value for dayOfWeek: 8'],
    ['*/0 * * * *', 'Syntax error, illegal stepping: 0'],
    ['0 0 30 2 *', 'there is no such day'],
    ['TZ=Nowhere/Town * * * * *', 'unknown time zone "Nowhere/Town"'],
  ])('%j', (text, fault) => {
    const spec = { mode: { kind: 'global-job' }, labels: { 'skep.schedule': text } } as const;
    expect(faultOfSchedule(spec)).toBe(`invalid label skep.schedule=${JSON.stringify(text)}: ${fault}`);
    expect(scheduleOf(service('job', spec))).toBeUndefined();
  });

  test.each(['replicated', 'global'] as const)('a schedule of a %s service', (kind) => {
    const mode = kind === 'global' ? { kind } : { kind, replicas: 1 };
    expect(faultOfSchedule({ mode, labels: { 'skep.schedule': '* * * * *' } })).toBe(
      `invalid label skep.schedule="* * * * *": only jobs have a schedule, this service is ${kind}`,
    );
  });

  test('a label that only looks like it', () => {
    const labels = { 'skep.schedule.timezone': 'UTC' };
    expect(faultOfSchedule({ mode: { kind: 'global-job' }, labels })).toBe(
      'unknown label "skep.schedule.timezone": expected skep.schedule',
    );
  });
});
