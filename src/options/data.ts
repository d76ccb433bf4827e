/** Values as TOML has them, and how they are written in it. */

/** What an option can be in the file. */
export type OptionData = string | boolean | readonly string[];

/** One value on one line. JSON's strings are TOML's basic strings, but for DEL, which TOML wants escaped. */
export const tomlText = (data: OptionData): string =>
  typeof data === 'object'
    ? `[${data.map(tomlText).join(', ')}]`
    : JSON.stringify(data).replaceAll('\u007f', '\\u007f');

/** A word for what somebody has written where something else belongs; it never repeats a text, which could be long or secret. */
export function typeOf(data: unknown): string {
  if (typeof data === 'string') return 'a string';
  if (typeof data === 'boolean') return 'true or false';
  if (typeof data === 'number' || typeof data === 'bigint') return 'a number';
  if (Array.isArray(data)) return 'a list';
  return data instanceof Date ? 'a date' : 'a table';
}

/** Longest text of a user's that an error repeats. */
const quotedLengthMax = 60;

/** A user's text in an error. */
export const quoted = (text: string): string =>
  JSON.stringify(text.length > quotedLengthMax ? `${text.slice(0, quotedLengthMax)}…` : text);
