/** What the engine sends with a call of a driver. */
import { lostRequest } from '../../model/driver-call.js';
import { SkepError } from '../../model/errors.js';
import { Fields } from '../parse-fields.js';

/** The request's fields. Throws `unavailable` with {@link lostRequest} when the engine sent none. */
export function requestFields(request: unknown): Fields {
  if (request === undefined) throw new SkepError('unavailable', lostRequest);
  return new Fields(request, '');
}
