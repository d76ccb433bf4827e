/** What {@link measure} finds in several rounds, as the harness takes it. */
import type { Bar } from '../harness/bars.js';
import type { Findings } from '../harness/bench.js';
import { Measurements } from '../harness/series.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { measure } from './program.js';

/** Of one round with one engine. */
export interface ProgramRound extends Awaited<ReturnType<typeof measure>> {
  readonly engine: EngineName;
}

/** How many times less than with processes, by the clock. */
const timesFaster = 20;
/** An endpoint's change among many services, as a share of one among ten. */
const flat = 1.5;

/** @param flatBy what counts: in guests processor time comes in ticks that are larger than what is measured */
export function findingsOf(rounds: readonly ProgramRound[], flatBy: 'time' | 'processor time'): Findings {
  const found = new Measurements();
  const bars = new Map<string, Bar>();
  for (const { engine, nothing, change } of rounds) {
    const contender = `skep ${engine}`;
    const whole = `${nothing.services} services of ${nothing.endpoints}, from nothing`;
    const time = { measure: 'time', unit: 'ms' };
    const tools = `processes for ${engine}`;
    found.add({ ...time, case: whole, contender }, nothing.ms);
    found.add({ ...time, case: whole, contender: tools }, nothing.processesMs);
    found.add({ ...time, case: `verify ${nothing.services} services`, contender }, nothing.verifyMs);
    const cases = change.among.map(({ services }) => `one change among ${services} services`);
    for (const [at, { ms, processorMs }] of change.among.entries()) {
      const name = { case: cases[at] ?? '', contender };
      found.add({ ...name, ...time }, ms);
      found.add({ ...name, measure: 'processor time', unit: 'ms' }, processorMs);
    }
    found.add({ ...time, case: cases[0] ?? '', contender: tools }, change.processesMs);
    bars.set(`${engine} nothing`, {
      of: { case: whole, measure: 'time', contender },
      against: { case: whole, measure: 'time', contender: tools },
      atMost: 1 / timesFaster,
    });
    bars.set(`${engine} flat`, {
      of: { case: cases.at(-1) ?? '', measure: flatBy, contender },
      against: { case: cases[0] ?? '', measure: flatBy, contender },
      atMost: flat,
    });
  }
  return { series: found.series, bars: [...bars.values()] };
}
