/**
 * The grammar of image references (distribution/reference): `[domain/]path[:tag][@digest]`. A bare 64-digit hex name
 * is refused, as it could be mistaken for an image id.
 */
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = `(?:${domainPart}(?:\\.${domainPart})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?`;
const tag = '[\\w][\\w.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const reference = new RegExp(
  `^(?:(${domain})/)?(${component}(?:/${component})*)(?::${tag})?(?:@${digest})?$`,
);

export function isImageReference(text: string): boolean {
  if (/^[a-f0-9]{64}$/.test(text)) return false;
  const match = reference.exec(text);
  if (!match) return false;
  // Without a dot, a colon or `localhost` the first part is no domain but a path component, which is lower case.
  const first = match[1];
  if (first === undefined || /[.:]/.test(first) || first === 'localhost')
    return (match[0] ?? '').length <= 4096;
  return new RegExp(`^${component}$`).test(first) || first !== first.toLowerCase();
}

/** As users write it: without the registry and the library that a name stands for by itself. */
const familiar = (image: string): string => {
  const path = image.replace(/^(?:index\.)?docker\.io\//, '');
  const hasDomain = path === image && /^(?:[^/]*[.:][^/]*|localhost)\//.test(image);
  return hasDomain ? image : path.replace(/^library\/(?=[^/]+$)/, '');
};

/** The image that a tag names now: the reference, in the form of 20.10's, with its tag and the digest behind. */
export function pinned(image: string, digest: string): string {
  const name = familiar(image);
  return `${/:[^/]*$/.test(name) ? name : `${name}:latest`}@${digest}`;
}
