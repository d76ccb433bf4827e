/** A registry of images with one user, as Debian's `docker-registry` is told. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const user = 'skep';
export const password = 'let me pull';
/** As `htpasswd -Bn skep` makes it of the password: the registry takes bcrypt alone. */
export const registryUsers = readFileSync(new URL('../stacks/files/registry-users', import.meta.url), 'utf8');

/** `directory` holds `htpasswd` and gets the images. */
export const registryConfig = (directory: string, address = '127.0.0.1:5000'): string => `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${join(directory, 'images')} } }
http: { addr: "${address}" }
auth: { htpasswd: { realm: lab, path: ${join(directory, 'htpasswd')} } }
`;
