/**
 * API versions. The front advertises exactly the engine's own ApiVersion: whatever is not swarm's is answered by the
 * engine, so a newer number would promise what it cannot keep, and every stock CLI (28 included) steps down to the
 * number it is given. The texts that changed between 20.10 and 28 follow the advertised number as well.
 */
import { SkepError } from '../../model/errors.js';

/** Minor number of `1.minor`. */
export type Minor = number;

/** Older clients than this are refused; the engine may ask for more. */
const oldestMinor: Minor = 24;

/** What is known of the engine behind this front. */
export interface EngineIdentity {
  readonly version: string;
  readonly maxMinor: Minor;
  readonly minMinor: Minor;
  readonly os: string;
  readonly experimental: boolean;
  readonly builderVersion?: string;
}

/** Until the engine has answered once. */
export const assumedEngine: EngineIdentity = {
  version: 'unknown',
  maxMinor: 41,
  minMinor: oldestMinor,
  os: 'linux',
  experimental: false,
};

/** Whether bodies, filters and texts are those of 28 rather than 20.10. */
export const isModern = (engine: EngineIdentity): boolean => engine.maxMinor >= 42;

export interface VersionedPath {
  /** The request's minor version; the newest when the path names none. */
  readonly minor: Minor;
  /** The path behind the version. */
  readonly path: string;
}

/** Splits `/v1.41/nodes`. Throws `invalidArgument` with dockerd's texts for a version out of range. */
export function splitVersion(path: string, engine: EngineIdentity): VersionedPath {
  const match = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  if (!match) return { minor: engine.maxMinor, path };
  const [, value = '', rest] = match;
  const [major, minor = '0'] = value.split('.');
  const order = Number(major) === 1 ? Number(minor) : Number(major) < 1 ? -1 : Infinity;
  const min = Math.max(engine.minMinor, oldestMinor);
  if (order > engine.maxMinor)
    throw new SkepError(
      'invalidArgument',
      `client version ${value} is too new. Maximum supported API version is 1.${engine.maxMinor}`,
    );
  if (order < min)
    throw new SkepError(
      'invalidArgument',
      `client version ${value} is too old. Minimum supported API version is 1.${min}, ` +
        'please upgrade your client to a newer version',
    );
  return { minor: order, path: rest ?? '/' };
}
