/**
 * Placement constraints: `key == value` and `key != value`, all of which a node must satisfy. The match is whole-string
 * equality without regard to case; despite the alphabet of values there is no globbing.
 */
import { cidrContains, isIp, parseCidr, parseIp } from './addresses.js';
import { SkepError, controlApiError } from './errors.js';
import type { Node } from './objects.js';
import type { Labels } from './service-spec.js';

export interface Constraint {
  readonly key: string;
  readonly equal: boolean;
  readonly value: string;
}

const keyPattern = /^[a-z_][a-z0-9\-_.]+$/i;
// White space is Go's `\s`, which has fewer kinds than ours.
const valuePattern = /^[a-z0-9:\-_\t\n\f\r .*()?+[\]\\^$|/]+$/i;

/** Parses what users write; the refusals are those of Swarm's control API (kind `unknown`, so status 500). */
export function parseConstraint(text: string): Constraint {
  const operator = text.includes('==') ? '==' : text.includes('!=') ? '!=' : undefined;
  if (!operator) throw controlApiError('unknown', 'constraint expected one operator from ==, !=');
  const at = text.indexOf(operator);
  const key = text.slice(0, at).trim();
  const value = text.slice(at + operator.length).trim();
  if (!keyPattern.test(key)) throw controlApiError('unknown', `key '${key}' is invalid`);
  if (!valuePattern.test(value)) throw controlApiError('unknown', `value '${value}' is invalid`);
  return { key, equal: operator === '==', value };
}

/** True when the node satisfies every constraint. What cannot be parsed (the API refuses it) no node satisfies. */
export function satisfiesConstraints(node: Node, constraints: readonly string[]): boolean {
  return constraints.every((text) => {
    try {
      return satisfies(node, parseConstraint(text));
    } catch (err) {
      if (err instanceof SkepError) return false;
      throw err;
    }
  });
}

function satisfies(node: Node, constraint: Constraint): boolean {
  if (constraint.key.toLowerCase() === 'node.ip') return satisfiesIp(node, constraint);
  const actual = attributeOf(node, constraint.key);
  // A key that names nothing matches no node, with != as well.
  if (actual === undefined) return false;
  return (actual.toLowerCase() === constraint.value.toLowerCase()) === constraint.equal;
}

/** A node of no address is none of those that are named. */
function satisfiesIp(node: Node, { equal, value }: Constraint): boolean {
  const { addr } = node.status;
  if (isIp(value)) return (isIp(addr) && parseIp(value) === parseIp(addr)) === equal;
  try {
    parseCidr(value);
  } catch {
    return false;
  }
  return (isIp(addr) && cidrContains(value, addr)) === equal;
}

const nodeLabels = 'node.labels.';
const engineLabels = 'engine.labels.';

/** The value a constraint or spread key names, `''` where the node lacks it, undefined for a key of no meaning. */
export function attributeOf(node: Node, key: string): string | undefined {
  const lower = key.toLowerCase();
  // The prefix is matched without regard to case, the label's own key exactly.
  if (namesLabel(lower, nodeLabels)) return labelOf(node.spec.labels, key.slice(nodeLabels.length));
  if (namesLabel(lower, engineLabels))
    return labelOf(node.description?.engine.labels ?? {}, key.slice(engineLabels.length));
  switch (lower) {
    case 'node.id':
      return node.id;
    case 'node.hostname':
      return node.description?.hostname ?? '';
    case 'node.role':
      return node.role;
    case 'node.platform.os':
      return node.description?.platform.os ?? '';
    case 'node.platform.arch':
      return node.description?.platform.architecture ?? '';
    default:
      return undefined;
  }
}

/** Whether the key begins with the prefix and goes on. */
const namesLabel = (lower: string, prefix: string): boolean =>
  lower.startsWith(prefix) && lower.length > prefix.length;

/** Whether a spread descriptor means something: nodes are spread over by labels alone. */
export const isSpreadDescriptor = (key: string): boolean =>
  [nodeLabels, engineLabels].some((prefix) => namesLabel(key.toLowerCase(), prefix));

const labelOf = (labels: Labels, key: string): string =>
  (Object.hasOwn(labels, key) ? labels[key] : '') ?? '';
