/**
 * Secrets and configs that are given other content under the same name (docs/adr/0036). Who asks for it labels one
 * `skep.version-of=NAME`; what had the name before stays, under another, with the same label and for as long as a service may go
 * back to it. Pure.
 */
import { nameLengthMax } from './payloads.js';
import type { PayloadSpec } from './payloads.js';

export const versionLabel = 'skep.version-of';

type Named = Pick<PayloadSpec, 'name' | 'labels'>;

/** What is wrong with the label of one that a user names so; undefined: nothing. */
export function faultOfVersionLabel({ name, labels }: Named): string | undefined {
  const of = labels[versionLabel];
  if (of === undefined || isNameOrItsEnd(of, name)) return undefined;
  return `label ${versionLabel}: ${JSON.stringify(of)} is not this object's own name, of which a stack's prefix may be left out`;
}

/** `site`, and of the stack `shop` also `shop_site`. */
const isNameOrItsEnd = (of: string, name: string): boolean =>
  of !== '' && (name === of || name.endsWith(`_${of}`));

/** Whether its content may be replaced. */
export const isVersioned = (spec: Named): boolean =>
  spec.labels[versionLabel] !== undefined && faultOfVersionLabel(spec) === undefined;

/** Whether it is one that another has replaced. */
export const isOldVersion = (spec: Named): boolean =>
  spec.labels[versionLabel] !== undefined && faultOfVersionLabel(spec) !== undefined;

/** It with the name given up: nothing but its name and labels becomes another. */
export const asOldVersion = <T extends { readonly id: string; readonly spec: PayloadSpec }>(object: T): T => {
  const { id, spec } = object;
  const end = `.${id.slice(0, 12)}`;
  const name = spec.name.slice(0, nameLengthMax - end.length) + end;
  return { ...object, spec: { ...spec, name, labels: { ...spec.labels, [versionLabel]: spec.name } } };
};

/** Whether a reference by that name means it: also one that was made when it had it. */
export const answersTo = ({ name, labels }: Named, wanted: string): boolean =>
  name === wanted || labels[versionLabel] === wanted;
