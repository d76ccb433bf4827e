/**
 * The kinds of values that options have. The file is read strictly; the environment as it always was, so that no host whose
 * daemons started yesterday has one that does not today.
 */
import { SkepError } from '../model/errors.js';
import { devicesMax, parseAllowance } from '../model/host-access.js';
import type { OptionData } from './data.js';
import { quoted, typeOf } from './data.js';
import type { ListenAddress } from './listen-address.js';
import { formatListenAddress, parseListenAddress, parseTcpHost } from './listen-address.js';

/** Both readers throw a SkepError whose text follows the option's name in a sentence. */
export interface Kind<T> {
  /** For the documentation. */
  readonly name: string;
  /** What is in the file. */
  parse(data: unknown): T;
  /** What is in the environment. */
  parseText(text: string): T;
  /** As the file says it. */
  toData(value: T): OptionData;
}

const unfit = (what: string): never => {
  throw new SkepError('invalidArgument', what);
};

function stringIn(data: unknown, expected: string): string {
  return typeof data === 'string' ? data : unfit(`is ${typeOf(data)} and not ${expected}`);
}

function listIn(data: unknown, expected: string): readonly string[] {
  if (!Array.isArray(data)) return unfit(`is ${typeOf(data)} and not a list of ${expected}`);
  return data.map((each: unknown) =>
    typeof each === 'string' ? each : unfit(`has ${typeOf(each)} in its list of ${expected}`),
  );
}

const wordsIn = (text: string): string[] =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');

/** A path's text is never repeated: somebody may have put the file there in place of its name. */
const absolute = (path: string): string =>
  /^\/[^\0\r\n]*$/.test(path) ? path : unfit('is not a path that begins with a slash');

export const path: Kind<string> = {
  name: 'absolute path',
  parse: (data) => absolute(stringIn(data, 'a path')),
  parseText: (text) => text,
  toData: (value) => value,
};

/** Empty: none. */
export const optionalPath: Kind<string> = {
  ...path,
  name: 'absolute path, or empty',
  parse: (data) => (data === '' ? '' : path.parse(data)),
};

/** `yes` is what the environment says for true; all else is false there. */
export const flag = (yes: string): Kind<boolean> => ({
  name: '`true` or `false`',
  parse: (data) =>
    typeof data === 'boolean' ? data : unfit(`is ${typeOf(data)} and not true or false, without quotes`),
  parseText: (text) => text === yes,
  toData: (value) => value,
});

export function oneOf<const T extends string>(choices: readonly T[]): Kind<T> {
  const choose = (text: string): T =>
    choices.find((choice) => choice === text) ?? unfit(`${quoted(text)} is none of ${choices.join(', ')}`);
  return {
    name: choices.map((choice) => `\`${choice}\``).join(', '),
    parse: (data) => choose(stringIn(data, `one of ${choices.join(', ')}`)),
    parseText: choose,
    toData: (value) => value,
  };
}

export const unixAddress: Kind<string> = {
  name: '`unix:///PATH`',
  parse(data) {
    const text = stringIn(data, 'unix:///PATH');
    return /^unix:\/\/\/[^\0\r\n]+$/.test(text)
      ? text
      : unfit(`${quoted(text)} is not unix:///PATH, and an engine is asked on its own host alone`);
  },
  parseText: (text) => text,
  toData: (value) => value,
};

/** A group's name or number, or empty. Which groups there are, the host says when the daemon starts. */
export const group: Kind<string> = {
  name: 'name or number of a group, or empty',
  parse(data) {
    const text = stringIn(data, 'the name of a group');
    return /^(?:[\w][\w.-]{0,31}\$?)?$/.test(text) ? text : unfit(`${quoted(text)} cannot be a group's name`);
  },
  parseText: (text) => text,
  toData: (value) => value,
};

const tcpHost = (word: string): ListenAddress =>
  parseTcpHost(word) ??
  unfit(`${quoted(word)} is none of tcp://ADDRESS:PORT; the unix socket is always there`);

export const tcpHosts: Kind<readonly ListenAddress[]> = {
  name: 'list of `tcp://ADDRESS:PORT`',
  parse: (data) => listIn(data, 'tcp://ADDRESS:PORT').map(tcpHost),
  parseText: (text) => wordsIn(text).map(tcpHost),
  toData: (value) => value.map((each) => `tcp://${formatListenAddress(each)}`),
};

const listenAt = (text: string): ListenAddress | null =>
  text === ''
    ? null
    : (parseListenAddress(text) ?? unfit(`${quoted(text)} is not ADDRESS:PORT, with an address and no name`));

/** Empty: null, nobody listens. */
export const listenAddress: Kind<ListenAddress | null> = {
  name: '`ADDRESS:PORT`, or empty',
  parse: (data) => listenAt(stringIn(data, 'ADDRESS:PORT')),
  parseText: listenAt,
  toData: (value) => (value === null ? '' : formatListenAddress(value)),
};

/** Words of an allowance, each as {@link parseAllowance} knows it. */
function allowed(words: readonly string[]): readonly string[] {
  for (const word of words)
    try {
      // A comma begins the next word where words are put together.
      if (word.trim() === '' || word.includes(',')) throw new Error(`cannot allow ${quoted(word)}`);
      parseAllowance(word);
    } catch {
      unfit(`${quoted(word)} is none of devices=/dev/NAME, privileged, shm-size`);
    }
  if (words.filter((word) => word.startsWith('devices=')).length > devicesMax)
    unfit(`has more than ${devicesMax} words of devices=`);
  return words;
}

export const allowance: Kind<readonly string[]> = {
  name: 'list of `devices=/dev/NAME`, `privileged`, `shm-size`',
  parse: (data) => allowed(listIn(data, 'what services may have')),
  parseText: (text) => allowed(wordsIn(text)),
  toData: (value) => value,
};
