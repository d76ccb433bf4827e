/** A registry of images with one user, as Debian's `docker-registry` is told. */
import { join } from 'node:path';

export const user = 'skep';
export const password = 'let me pull';
/** As `htpasswd -Bn skep` makes it of the password: the registry takes bcrypt alone. */
export const registryUsers = `${user}:$2y$05$xC0u1pDFLUjaL80fwvKzs.V2hvvlUYzN8M08i2ugcdDY1U9Q9aF52\n`;

/** `directory` holds `htpasswd` and gets the images. */
export const registryConfig = (directory: string, address = '127.0.0.1:5000'): string => `version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: ${join(directory, 'images')} } }
http: { addr: "${address}" }
auth: { htpasswd: { realm: lab, path: ${join(directory, 'htpasswd')} } }
`;
