/** What a new node says of itself: whether it is to have tasks. */
import { SkepError } from '../../model/errors.js';
import type { Node } from '../../model/objects.js';

export type Availability = Node['spec']['availability'];

const words: readonly Availability[] = ['active', 'pause', 'drain'];

/** From what the user wrote, in letters of either case; nothing is active. Throws `invalidArgument`. */
export function availabilityOf(text: string): Availability {
  if (text === '') return 'active';
  const found = words.find((word) => word === text.toLowerCase());
  if (found === undefined) throw new SkepError('invalidArgument', `invalid Availability: "${text}"`);
  return found;
}
