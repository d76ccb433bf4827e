/**
 * Loads the native addon (native/README.md) with its types. Loaded on first use, so that pure code and its tests run
 * without a build. The path holds from src/ (tests) and from dist/ alike: both lie two levels above this file.
 */
import { createRequire } from 'node:module';
import type * as surface from '../../native/native.js';
import { OutsideError } from '../model/errors.js';

export type Native = typeof surface;

let loaded: Native | undefined;

/** The addon. Throws OutsideError, not retryable, when it was not built (`npm run build:native`). */
export function native(): Native {
  if (loaded) return loaded;
  try {
    const require = createRequire(import.meta.url);
    loaded = require('../../native/build/Release/skep_native.node') as Native;
  } catch (cause) {
    throw new OutsideError('the native addon cannot be loaded; build it with `npm run build:native`', false, {
      cause,
    });
  }
  return loaded;
}
