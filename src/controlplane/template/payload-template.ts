/**
 * Secrets and configs that are templates (`--template-driver golang`), expanded for one task: with the names of a container's spec
 * (container-template.ts), and `secret`, `config` and `env` for what else the container is given. What is secret does not get into
 * the text of a failure, which everybody may read: of such a template only the place is told.
 */
import { SkepError } from '../../model/errors.js';
import type { Task } from '../../model/objects.js';
import type { PayloadKind } from '../../model/payloads.js';
import { faultOfSize } from '../../model/payloads.js';
import type { PayloadItem } from '../rpc/assignment.js';
import type { TemplateNode } from './container-template.js';
import { templateContext } from './container-template.js';
import { expand } from './expand.js';
import type { TemplateFunction } from './functions.js';
import { TemplateError } from './tokens.js';
import type { Value } from './values.js';

export interface PayloadContext {
  readonly task: Task;
  readonly node: TemplateNode;
  /** What another file of the task holds, unexpanded; undefined: there is no such. */
  readonly dataOf: (kind: PayloadKind, target: string) => Buffer | undefined;
}

/** Throws `invalidArgument` with Swarm's words. */
export function expandPayload(
  kind: PayloadKind,
  { id, data, templating }: PayloadItem,
  { task, node, dataOf }: PayloadContext,
): Buffer {
  if (templating === '') return data.reveal();
  let isSecret = kind === 'secret';
  const other =
    (of: PayloadKind) =>
    (target: string): string => {
      isSecret ||= of === 'secret';
      const found = dataOf(of, target);
      if (found === undefined) throw new Error(`${of} target ${target} not found`);
      return textOf(found, `${of} target ${target}`);
    };
  const ofOneName = (call: (name: string) => Value): TemplateFunction => ({
    argumentsMin: 1,
    argumentsMax: 1,
    ofStrings: true,
    call: ([name]) => call(name as string),
  });
  const functions = new Map([
    ['secret', ofOneName(other('secret'))],
    ['config', ofOneName(other('config'))],
    ['env', ofOneName((name) => environment(task, name))],
  ]);
  const fail = (reason: string): never => {
    throw new SkepError('invalidArgument', `failed to expand templated ${kind} ${id}: ${reason}`);
  };
  if (templating !== 'golang') return fail('unrecognized template type');
  try {
    const expanded = Buffer.from(
      expand(textOf(data.reveal(), 'the template'), templateContext(task, node), functions),
    );
    const fault = faultOfSize(kind, expanded.length);
    if (fault !== undefined) throw new Error(`expanded ${fault}`);
    return expanded;
  } catch (err) {
    const { message } = err as Error;
    if (!isSecret || !(err instanceof TemplateError)) return fail(message);
    const place = /^template: expansion(?::\d+)*/.exec(message)?.[0] ?? 'template';
    return fail(`${place}: what is wrong there is not shown, for it is secret`);
  }
}

/** Of the container's spec, as it is written there; the empty text where it is not. */
function environment({ spec }: Task, name: string): string {
  const entry = spec.container.env.find((each) => each.startsWith(`${name}=`));
  return entry?.slice(name.length + 1) ?? '';
}

function textOf(data: Buffer, what: string): string {
  const text = data.toString('utf8');
  if (!Buffer.from(text).equals(data)) throw new Error(`${what} is no text: it is not in UTF-8`);
  return text;
}
