/** What dockerd says of a Content-Type that is not that of JSON. */

/** Characters of a token (RFC 2045): printable ASCII without its `tspecials`. */
const token = /^[!#-'*+.0-9A-Z^-~-]*/;

const tokenOf = (text: string): string => token.exec(text)?.[0] ?? '';

/** In the words of Go's mime package; undefined: it is `type/subtype`, or a type alone, which it takes, too. */
function faultOfForm(media: string): string | undefined {
  const type = tokenOf(media);
  if (type === '') return 'no media type';
  const rest = media.slice(type.length);
  if (rest === '') return undefined;
  if (!rest.startsWith('/')) return 'expected slash after first token';
  const subtype = tokenOf(rest.slice(1));
  if (subtype === '') return 'expected token after slash';
  return rest === `/${subtype}` ? undefined : 'unexpected content after media subtype';
}

/** Why this is not the type of JSON, in the words of 28 or of 20.10; undefined: it is. Parameters count for nothing. */
export function faultOfMediaType(type: string, modern: boolean): string | undefined {
  const media = (type.split(';')[0] ?? '').trim().toLowerCase();
  if (media === 'application/json') return undefined;
  if (!modern) return `Content-Type specified (${type}) must be 'application/json'`;
  const fault = faultOfForm(media);
  return fault === undefined
    ? `unsupported Content-Type header (${type}): must be 'application/json'`
    : `malformed Content-Type header (${type}): mime: ${fault}`;
}
