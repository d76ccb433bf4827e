/**
 * The label `skep.schedule` of a job: when it is run again, in cron's five fields. Times are UTC's unless a zone of the IANA
 * database stands before them, as Go's cron libraries write it: `CRON_TZ=Europe/Berlin 0 3 * * *` (or `TZ=`). Pure: every time is a
 * parameter. Where clocks are put forward or back, croner does as Vixie's cron: what has one time of day is run once, whatever
 * happens to that; what is run every so often keeps its beat.
 */
import { Cron } from 'croner';
import type { Service } from './objects.js';
import { isJob } from './service-laws.js';
import type { ServiceSpec } from './service-spec.js';

export const scheduleLabel = 'skep.schedule';

export class Schedule {
  private constructor(private readonly cron: Cron) {}

  /** @throws Error with what is wrong, in words for the user */
  static parse(text: string): Schedule {
    const known = parsed.get(text);
    if (known) return known;
    const schedule = Schedule.#read(text);
    if (parsed.size >= parsedMax) parsed.clear();
    parsed.set(text, schedule);
    return schedule;
  }

  static #read(text: string): Schedule {
    const [, zone = 'UTC', fields = ''] = /^\s*(?:(?:CRON_)?TZ=(\S+)\s+)?(.*?)\s*$/s.exec(text) ?? [];
    // Croner reads more: dates, nicknames such as @daily, and `?`, which means something else to every cron.
    if (fields.split(/\s+/).length !== 5 || fields.includes('?'))
      throw new Error('must be five fields: minute, hour, day of the month, month, day of the week');
    if (!isZone(zone)) throw new Error(`unknown time zone ${JSON.stringify(zone)}`);
    const schedule = new Schedule(cronOf(fields, zone));
    if (schedule.after(0) === undefined) throw new Error('there is no such day');
    return schedule;
  }

  /** The first firing after that time, in ms since the epoch. */
  after(timeMs: number): number | undefined {
    return this.cron.nextRun(new Date(timeMs))?.getTime();
  }

  /** The last firing up to that time, itself included. */
  upTo(timeMs: number): number | undefined {
    return this.cron.previousRuns(1, new Date(timeMs + 1))[0]?.getTime();
  }
}

/** Loops ask again with every change of the store; reading one takes a tenth of a millisecond, a zone's calendar included. */
const parsed = new Map<string, Schedule>();
const parsedMax = 1000;

function cronOf(fields: string, zone: string): Cron {
  try {
    return new Cron(fields, { mode: '5-part', timezone: zone, paused: true });
  } catch (err) {
    throw new Error((err as Error).message.replace(/^CronPattern: /, ''), { cause: err });
  }
}

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** What is wrong with the service's schedule, in words for its user. */
export function faultOfSchedule({ labels, mode }: Pick<ServiceSpec, 'labels' | 'mode'>): string | undefined {
  const unknown = Object.keys(labels).find((name) => name.startsWith(`${scheduleLabel}.`));
  if (unknown !== undefined) return `unknown label ${JSON.stringify(unknown)}: expected ${scheduleLabel}`;
  const text = labels[scheduleLabel];
  if (text === undefined) return undefined;
  const label = `invalid label ${scheduleLabel}=${JSON.stringify(text)}`;
  if (!isJob(mode)) return `${label}: only jobs have a schedule, this service is ${mode.kind}`;
  try {
    Schedule.parse(text);
    return undefined;
  } catch (err) {
    return `${label}: ${(err as Error).message}`;
  }
}

/** The service's schedule; none is also what its label gets wrong, which the API refuses. */
export function scheduleOf({ spec }: Pick<Service, 'spec'>): Schedule | undefined {
  const text = spec.labels[scheduleLabel];
  return text === undefined || faultOfSchedule(spec) !== undefined ? undefined : Schedule.parse(text);
}
