/**
 * API versions. The front advertises exactly the engine's own ApiVersion: whatever is not swarm's is answered by the
 * engine, so a newer number would promise what it cannot keep, and every stock CLI (28 included) steps down to the
 * number it is given. The texts that changed between 20.10 and 28 follow the advertised number as well.
 */
import { SkepError } from '../../model/errors.js';

/** Minor number of `1.minor`. */
export type Minor = number;

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
  // Of every engine there is.
  minMinor: 24,
  os: 'linux',
  experimental: false,
};

/**
 * Whether bodies, filters and texts are those of 28 rather than 20.10: Swarm's answers of 1.45 (26.1) and 1.51 (28.5) are alike
 * where those of 1.41 differ (docs/adr/0038). Fields that came one by one have their versions in convert/.
 */
export const isModern = (engine: EngineIdentity): boolean => engine.maxMinor >= 42;

export interface VersionedPath {
  /** The request's minor version; the newest when the path names none. */
  readonly minor: Minor;
  /** The path behind the version. */
  readonly path: string;
}

/** What a path says before its rest. */
interface NamedVersion {
  readonly value: string;
  /** The minor number; of another major version than 1 it comes before, or after, all. */
  readonly order: number;
  readonly rest: string;
}

function namedVersion(path: string): NamedVersion | undefined {
  const [, value, rest = '/'] = /^\/v([0-9.]+)(\/.*)$/.exec(path) ?? [];
  if (value === undefined) return undefined;
  const [major, minor = '0'] = value.split('.');
  const order = Number(major) === 1 ? Number(minor) : Number(major) < 1 ? -Infinity : Infinity;
  return { value, order, rest };
}

/** The first minor whose clients read errors as JSON. Docker tells those before it in plain text, up to 28 at least. */
const firstMinorWithJsonErrors: Minor = 24;

/** Whether who asks for this path reads errors as JSON. */
export const readsJsonErrors = (path: string): boolean =>
  (namedVersion(path)?.order ?? Infinity) >= firstMinorWithJsonErrors;

/** Splits `/v1.41/nodes`. Throws `invalidArgument` with dockerd's texts for a version that the engine does not have. */
export function splitVersion(path: string, engine: EngineIdentity): VersionedPath {
  const named = namedVersion(path);
  if (!named) return { minor: engine.maxMinor, path };
  const { value, order, rest } = named;
  if (order > engine.maxMinor)
    throw new SkepError(
      'invalidArgument',
      `client version ${value} is too new. Maximum supported API version is 1.${engine.maxMinor}`,
    );
  if (order < engine.minMinor)
    throw new SkepError(
      'invalidArgument',
      `client version ${value} is too old. Minimum supported API version is 1.${engine.minMinor}, ` +
        'please upgrade your client to a newer version',
    );
  return { minor: order, path: rest };
}
