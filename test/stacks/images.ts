/**
 * The images that the stacks need beside those of every lab, made of this machine's own files too: a database that reads passwords
 * from files, a web application that needs it, and a registry. Only nodes that are asked to get them.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ensureImage, importScript } from '../../src/lab/images.js';
import type { ImageSource } from '../../src/lab/images.js';
import type { TestLab } from '../support/lab.js';

const content = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`images/${name}`, import.meta.url)), 'utf8');

/** Debian 12's: the directory is named for the interface of PHP 8.2's extensions. */
const extensions = '/usr/lib/php/20220829';
/** It ends at Ctrl-C, not at SIGTERM: its shell does. */
const phpServer = `php8.2 -d extension_dir=${extensions} -d extension=mysqlnd -d extension=mysqli -S 0.0.0.0:80 /index.php`;

const registryConfig = `version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: /var/lib/registry } }
http: { addr: ':5000' }
`;

export const stackImages: readonly ImageSource[] = [
  {
    names: ['skep/mysql:lab'],
    changes: [
      'CMD ["sh", "/entrypoint.sh"]',
      'VOLUME /var/lib/mysql',
      'EXPOSE 3306',
      'ENV PATH=/usr/sbin:/bin',
    ],
    programs: ['/usr/sbin/mariadbd'],
    copies: [
      '/usr/share/mysql/mysql_system_tables.sql',
      '/usr/share/mysql/mysql_system_tables_data.sql',
      '/usr/share/mysql/english/errmsg.sys',
    ],
    files: { 'entrypoint.sh': content('mysql-entrypoint.sh') },
  },
  {
    names: ['skep/wordpress:lab'],
    changes: [
      `CMD ["sh", "-c", ${JSON.stringify(`trap 'exit 0' TERM; ${phpServer} & wait`)}]`,
      ...['EXPOSE 80', 'ENV PATH=/usr/bin:/bin PHP_CLI_SERVER_WORKERS=4'],
    ],
    programs: ['/usr/bin/php8.2', `${extensions}/mysqlnd.so`, `${extensions}/mysqli.so`],
    files: { 'index.php': content('wordpress.php') },
  },
  {
    names: ['skep/registry:lab'],
    changes: [
      'CMD ["docker-registry", "serve", "/etc/registry.yml"]',
      'EXPOSE 5000',
      'ENV PATH=/usr/bin:/bin',
    ],
    programs: ['/usr/bin/docker-registry'],
    files: { 'etc/registry.yml': registryConfig },
  },
];

/** Loads them into the engines of these nodes. */
export async function loadStackImages(cluster: TestLab, nodes: readonly string[]): Promise<void> {
  const script = importScript(await Promise.all(stackImages.map(ensureImage)));
  await Promise.all(nodes.map((node) => cluster.run(node, ['sh', '-c', script])));
}
