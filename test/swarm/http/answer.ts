/**
 * What is kept of an answer: everything but what differs from one swarm to the next. Identifiers that an earlier answer gave are
 * shown by their name, so that one that points elsewhere is seen.
 */
import type { RawAnswer } from './ask.js';
import type { Step } from './step.js';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Answer {
  readonly status: number;
  /** Without those that belong to the connection. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON where it is, else the text. */
  readonly body?: Json;
  /** It lacked what the script goes on with, or never became what it was awaited to be. */
  readonly unexpected?: true;
}

/** Date is the clock's, the others say how the body is sent, which is HTTP's own business. */
const connectionHeaders = new Set([
  'date',
  'connection',
  'keep-alive',
  'content-length',
  'transfer-encoding',
]);

const textRules: readonly (readonly [pattern: RegExp, shown: string])[] = [
  [/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?/g, 'PEM'],
  [/SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}/g, 'TOKEN'],
  [/SWMKEY-1-[A-Za-z0-9+/]{43}/g, 'KEY'],
  [/\b(?!0001-)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z/g, 'TIME'],
  [/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,9} \+0000 UTC/g, 'TIME'],
  [/\b[0-9a-f]{64}\b/g, 'HEX'],
  [/\b[0-9a-z]{25}\b/g, 'ID'],
  [/\b10\.\d+\.\d+\.(?!0\b)\d+\b/g, 'IP'],
  [/\b10\.0\.\d+\.0\/24\b/g, 'SUBNET'],
  [/Docker\/\S+ /g, 'Docker/VERSION '],
  [/127\.0\.0\.1:\d{5}\b/g, '127.0.0.1:PORT'],
  // One of many.
  [/in use by service \S+$/, 'in use by service SERVICE'],
];

const known = (text: string, names: ReadonlyMap<string, string>): string => {
  let shown = text;
  for (const [value, name] of names) shown = shown.replaceAll(value, `<${name}>`);
  for (const [pattern, name] of textRules) shown = shown.replace(pattern, name);
  return shown;
};

/** Numbers and texts that no two clusters share, or no two machines, by their key. */
const valueRules: Readonly<Record<string, string>> = {
  Index: 'INDEX',
  PID: 'PID',
  EngineVersion: 'VERSION',
  MemoryBytes: 'BYTES',
  NanoCPUs: 'CORES',
  'Peer.Name': 'NODE',
  MacAddress: 'MAC',
  'skep.balancer': 'BALANCER',
  'skep.esp': 'BOOLEAN',
  CertIssuerSubject: 'BASE64',
  CertIssuerPublicKey: 'BASE64',
  'com.docker.network.driver.overlay.vxlanid_list': 'VNI',
};

/** Of these, what the script asks for is less than any machine has. */
const machinesFrom: Readonly<Record<string, number>> = { MemoryBytes: 1e9, NanoCPUs: 1e9 };

function normalised(json: Json, names: ReadonlyMap<string, string>, isFiltered: boolean, key = ''): Json {
  const rule = valueRules[key];
  const isMachines = (json as number) >= (machinesFrom[key] ?? 0);
  if (rule !== undefined && json !== null && typeof json !== 'object' && json !== 0)
    if (!(key in machinesFrom) || isMachines) return rule;
  if (typeof json === 'string') return known(json, names);
  if (Array.isArray(json)) {
    const items = json as Json[];
    return inOrder(
      items.map((each) => normalised(each, names, isFiltered, key === 'Peers' ? 'Peer' : '')),
      items,
      isFiltered,
    );
  }
  if (json === null || typeof json !== 'object') return json;
  return Object.fromEntries(
    Object.entries(json)
      .map(
        ([name, value]) =>
          [
            known(name, names),
            normalised(value, names, isFiltered, key === 'Peer' ? `Peer.${name}` : name),
          ] as const,
      )
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

/** Objects with identifiers come in the order of those, which is random: it is kept that they do, and they are sorted by the rest. */
function inOrder(items: readonly Json[], raw: readonly Json[], isFiltered: boolean): Json[] {
  const ids = raw.map((item) => valueAt(item, 'ID') ?? valueAt(item, 'Id'));
  if (ids.length < 2 || ids.includes(undefined)) return [...items];
  const isSorted = ids.every((id, i) => i === 0 || asText(ids[i - 1]) < asText(id));
  const sorted = [...items].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  // What was found by a name comes in whatever order.
  return isSorted || isFiltered || !raw.every((item) => valueAt(item, 'ID') !== undefined)
    ? sorted
    : [...sorted, 'not in the order of identifiers'];
}

function shape(json: Json): Json {
  if (Array.isArray(json)) {
    const kinds = new Map((json as Json[]).map((each) => [JSON.stringify(shape(each)), shape(each)]));
    return [...kinds].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, kind]) => kind);
  }
  if (json === null) return null;
  if (typeof json !== 'object') return `(${typeof json})`;
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, shape(value)]));
}

/** Only names and types of the parts; what is outside them stays. */
export function withShapes(json: Json, ways: readonly string[]): Json {
  if (ways.includes('')) return shape(json);
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return json;
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) => {
      if (ways.includes(key)) return [key, shape(value)];
      const below = ways.flatMap((way) => (way.startsWith(`${key}.`) ? [way.slice(key.length + 1)] : []));
      return [key, below.length === 0 ? value : withShapes(value, below)];
    }),
  );
}

/** The body as JSON: one document, or one a line. Undefined where it is neither. */
export function parseBody(text: string): Json | undefined {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

export function answerOf(raw: RawAnswer, step: Step, names: ReadonlyMap<string, string>): Answer {
  const headers = Object.fromEntries(
    Object.entries(raw.headers)
      .filter(([name]) => !connectionHeaders.has(name))
      .map(([name, value]) => [name, known(value, names)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  const json = parseBody(raw.text);
  const body =
    json === undefined ? known(raw.text, names) : normalised(json, names, step.filters !== undefined);
  return {
    status: raw.status,
    headers,
    ...(raw.text === '' ? {} : { body: withShapes(body, step.shapeOf ?? []) }),
  };
}

/** A value as it is put into a request. */
export const asText = (value: Json | undefined): string =>
  typeof value === 'string' ? value : JSON.stringify(value);

/** The value at a dotted way. */
export function valueAt(json: Json | undefined, way: string): Json | undefined {
  let value: Json | undefined = json;
  for (const key of way === '' ? [] : way.split('.')) {
    if (value === null || value === undefined || typeof value !== 'object') return undefined;
    value = (value as Record<string, Json>)[key];
  }
  return value;
}
