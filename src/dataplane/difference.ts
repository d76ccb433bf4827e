/**
 * What `skep verify` tells: one difference between kernel and state, as words that scripts may rely on. `object` is for
 * people, the rest is stable.
 */
import type { Op } from './plan/diff.js';
import { line } from './plan/objects.js';

/** What a repair would do; `unknown`: why that cannot be told, or cannot be done by this kernel. */
export const differenceOps = ['add', 'change', 'remake', 'delete', 'unknown'] as const;

export interface Difference {
  /** `host`, `esp` (IPsec, in the host's namespace), `overlay <VNI>`, or `sandbox <path>`. */
  readonly scope: string;
  readonly op: (typeof differenceOps)[number];
  /** The object as it should be (with `delete`: as it is), and what it is now where it is to be changed. */
  readonly object: string;
}

export const differenceOf = (scope: string, op: Op): Difference => ({
  scope,
  op: op.op,
  object: 'was' in op ? `${line(op.object)} (was ${line(op.was)})` : line(op.object),
});

const signs: Readonly<Record<Difference['op'], string>> = {
  add: '+ ',
  change: '~ ',
  remake: '! ',
  delete: '- ',
  unknown: '',
};

/** `overlay 4097: + neighbour br0 10.0.1.4 02:…`. */
export const differenceLine = ({ scope, op, object }: Difference): string =>
  `${scope}: ${signs[op]}${object}`;
