/** Asks the whole script of a lab, whoever manages it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { ManagedLab } from '../../support/managed-lab.js';
import type { Answer, Json } from './answer.js';
import { answerOf, asText, parseBody, valueAt } from './answer.js';
import type { RawAnswer } from './ask.js';
import { ask, cutOff } from './ask.js';
import type { NodeName, Step } from './step.js';
import { titleOf } from './step.js';

/** By phase and title, in the order in which they were asked. */
export type Answers = ReadonlyMap<string, Answer>;

const pollMs = 100;
const untilMsMax = 40_000;
/** What is refused before it was read may be answered or cut off, as it happens. */
const triesMax = 20;

const filled = (text: string, values: ReadonlyMap<string, string>): string =>
  text.replace(/<([a-z][a-z0-9-]*)>/g, (whole, name: string) => values.get(name) ?? whole);

/** Who is asked. */
export type Daemons = Pick<ManagedLab, 'by' | 'socketOf' | 'killDaemon'>;

/**
 * An answer that is not as the script expects ends nothing: it is kept as it is, and what depends on it shows as different too.
 * @param values what is known before the first answer: `api`, the newest version
 */
export async function play(
  daemons: Daemons,
  script: Readonly<Record<string, readonly Step[]>>,
  values: Map<string, string>,
): Promise<Answers> {
  const answers = new Map<string, Answer>();
  for (const [phase, steps] of Object.entries(script))
    for (const step of steps) {
      const title = unused(answers, `${phase} | ${titleOf(step)}`);
      if (step.restart) await daemons.killDaemon(step.node);
      const { raw, isExpected } = await answered(daemons, step, values);
      const body = parseBody(raw.text);
      const saved = Object.entries(step.save ?? {}).map(([name, way]) => [name, valueAt(body, way)] as const);
      for (const [name, value] of saved) if (value !== undefined) values.set(name, asText(value));
      const isComplete = isExpected && saved.every(([, value]) => value !== undefined);
      if (step.undo !== undefined && raw.status >= 200 && raw.status < 300)
        await undo(daemons, step.node, step.undo, body);
      if (step.silent && isComplete) continue;
      const answer = answerOf(raw, step, namesOf(values));
      answers.set(title, isComplete ? answer : { ...answer, unexpected: true });
    }
  return answers;
}

/** @param how `/services`: the one that was made there; `POST /swarm/leave?force=1`: that */
async function undo(daemons: Daemons, node: NodeName, how: string, made: Json | undefined): Promise<void> {
  const [method = '', target = ''] = how.includes(' ') ? how.split(' ') : ['DELETE', `${how}/${idIn(made)}`];
  const { status, text } = await ask(daemons.socketOf(node), { method, target, headers: {} });
  if (status >= 300) throw new Error(`${daemons.by}: ${method} ${target}: ${status} ${text}`);
}

const idIn = (body: Json | undefined): string => asText(valueAt(body, 'ID') ?? valueAt(body, 'Id'));

/** What is asked a second time in a phase is numbered. */
const unused = (answers: Answers, title: string): string => {
  let [each, number] = [title, 1];
  while (answers.has(each)) each = `${title} #${++number}`;
  return each;
};

/** Only what no other text can be part of. */
const namesOf = (values: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  new Map([...values].flatMap(([name, value]) => (value.length >= 25 ? [[value, name]] : [])));

async function answered(
  daemons: Daemons,
  step: Step,
  values: ReadonlyMap<string, string>,
): Promise<{ readonly raw: RawAnswer; readonly isExpected: boolean }> {
  const { method, body, filters, headers = {}, node, until } = step;
  const query = (): string => {
    const target = filled(step.target, values);
    if (filters === undefined) return target;
    const text = encodeURIComponent(filled(JSON.stringify(filters), values));
    return `${target}${target.includes('?') ? '&' : '?'}filters=${text}`;
  };
  const sent = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const asked = {
    method,
    target: query(),
    headers: {
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, filled(value, values)])),
    },
    ...(sent === undefined ? {} : { body: filled(sent, values).replace(/"=(\d+)"/g, '$1') }),
  };
  const end = performance.now() + untilMsMax;
  for (let tries = 1; ; tries++) {
    const isLate = performance.now() > end;
    try {
      const raw = await ask(daemons.socketOf(node), asked);
      if (raw.text === cutOff && tries < triesMax) continue;
      const isExpected = until === undefined || until(parseBody(raw.text));
      if (isExpected || isLate) return { raw, isExpected };
    } catch (cause) {
      // A daemon that has just been killed is about to be back.
      if (until === undefined || isLate)
        throw new Error(`${daemons.by}: ${titleOf(step)}: ${(cause as Error).message}`, { cause });
    }
    await delay(pollMs);
  }
}
