/** Where two runs of the script differ, value by value. Pure. */
import type { Answer, Json } from './answer.js';
import type { Answers } from './play.js';

export interface Difference {
  readonly title: string;
  /** `status`, `header NAME`, or the way into the body (`body.Spec.Name`, `body[].ID`). */
  readonly at: string;
  /** As JSON; absent where there is none. */
  readonly swarm?: string;
  readonly skep?: string;
}

export function differences(swarm: Answers, skep: Answers): Difference[] {
  const titles = new Set([...swarm.keys(), ...skep.keys()]);
  return [...titles].flatMap((title) => ofAnswers(title, swarm.get(title), skep.get(title)));
}

function ofAnswers(title: string, swarm: Answer | undefined, skep: Answer | undefined): Difference[] {
  if (!swarm || !skep) return [differs(title, 'answer', swarm && 'there', skep && 'there')];
  const found: Difference[] = [];
  if (swarm.status !== skep.status) found.push(differs(title, 'status', swarm.status, skep.status));
  for (const name of new Set([...Object.keys(swarm.headers), ...Object.keys(skep.headers)]))
    if (swarm.headers[name] !== skep.headers[name])
      found.push(differs(title, `header ${name}`, swarm.headers[name], skep.headers[name]));
  if (swarm.unexpected !== skep.unexpected)
    found.push(differs(title, 'unexpected', swarm.unexpected, skep.unexpected));
  compare(swarm.body, skep.body, 'body', (at, theirs, ours) => found.push(differs(title, at, theirs, ours)));
  return found;
}

const differs = (title: string, at: string, swarm: Json | undefined, skep: Json | undefined): Difference => ({
  title,
  at,
  ...(swarm === undefined ? {} : { swarm: JSON.stringify(swarm) }),
  ...(skep === undefined ? {} : { skep: JSON.stringify(skep) }),
});

function compare(
  swarm: Json | undefined,
  skep: Json | undefined,
  at: string,
  found: (at: string, swarm: Json | undefined, skep: Json | undefined) => void,
): void {
  if (Array.isArray(swarm) && Array.isArray(skep) && swarm.length === skep.length) {
    swarm.forEach((each, i) => compare(each as Json, (skep as Json[])[i], `${at}[${i}]`, found));
    return;
  }
  if (isObject(swarm) && isObject(skep)) {
    for (const key of new Set([...Object.keys(swarm), ...Object.keys(skep)]))
      compare(swarm[key], skep[key], `${at}.${key}`, found);
    return;
  }
  if (JSON.stringify(swarm) !== JSON.stringify(skep)) found(at, swarm, skep);
}

const isObject = (json: Json | undefined): json is Readonly<Record<string, Json>> =>
  json !== null && typeof json === 'object' && !Array.isArray(json);
