/** The session of Docker's own course: a database with two secrets and the site that needs one of them, typed and as a file. */
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/lab.js';
import type { StackLab } from './stack-lab.js';
import { nodes, soonMs } from './stack-lab.js';

export function describeSite(lab: StackLab): void {
  const { sh } = lab;
  describe('a site and its database', () => {
    const port = 30000;

    /**
     * A person with a browser, whose cookies belong to the site's name and not to the node that it leads to this time.
     * @returns the page it ends at
     */
    async function browse(node: string, path: string, atPort: number, form = ''): Promise<string> {
      const address = `192.168.60.${node.slice('node'.length)}`;
      const jar = `${lab.cluster.lab.paths.run}/cookies-${atPort}`;
      const browser = ['curl', '-sS', '-m', '10', '-L', '-c', jar, '-b', jar];
      const url = `http://blog.example.org:${atPort}${path}`;
      const sent = form === '' ? [] : ['--data', form];
      const resolved = ['--resolve', `blog.example.org:${atPort}:${address}`];
      const { exitCode, stdout, stderr } = await lab.cluster.lab.client([
        ...browser,
        ...resolved,
        ...sent,
        url,
      ]);
      expect({ url, exitCode, stderr }).toEqual({ url, exitCode: 0, stderr: '' });
      return stdout;
    }

    /** Whoever comes first installs it; after that every node, whichever of the tasks it asks, knows the visitor. */
    async function expectSite(atPort: number, title: string): Promise<void> {
      for (const node of nodes)
      await eventually(`the form through ${node}`, soonMs, () => browse(node, '/', atPort), (page) =>
        expect(page).toContain('<input name="weblog_title">'),
      ); // prettier-ignore
      const installed = await browse('node2', '/wp-admin/install.php', atPort, `weblog_title=${title}`);
      expect(installed).toContain(`<h1>${title}</h1>`);
      for (const node of nodes) {
        const page = await browse(node, '/', atPort);
        expect(page).toContain(`<title>${title}</title>`);
        expect(page).toContain('<p>Howdy, admin</p>');
      }
    }

    test('typed by hand', async () => {
      await sh('openssl rand -base64 20 | docker secret create mysql_password -');
      await sh(
        'openssl rand -base64 20 > root_password && docker secret create mysql_root_password root_password',
      );
      expect(await sh("docker secret ls --format '{{.Name}}'")).toBe('mysql_password\nmysql_root_password');
      await sh('docker network create -d overlay mysql_private');
      await sh(`docker service create \
      --name mysql \
      --replicas 1 \
      --network mysql_private \
      --mount type=volume,source=mydata,destination=/var/lib/mysql \
      --secret source=mysql_root_password,target=mysql_root_password \
      --secret source=mysql_password,target=mysql_password \
      -e MYSQL_ROOT_PASSWORD_FILE="/run/secrets/mysql_root_password" \
      -e MYSQL_PASSWORD_FILE="/run/secrets/mysql_password" \
      -e MYSQL_USER="wordpress" \
      -e MYSQL_DATABASE="wordpress" \
      skep/mysql:lab`);
      await sh(`docker service create \
      --name wordpress \
      --replicas 2 \
      --network mysql_private \
      --publish 30000:80 \
      --mount type=volume,source=wpdata,destination=/var/www/html \
      --secret source=mysql_password,target=wp_db_password,mode=0400 \
      -e WORDPRESS_DB_USER="wordpress" \
      -e WORDPRESS_DB_PASSWORD_FILE="/run/secrets/wp_db_password" \
      -e WORDPRESS_DB_HOST="mysql:3306" \
      -e WORDPRESS_DB_NAME="wordpress" \
      skep/wordpress:lab`);
      await expectSite(port, 'Bees');

      // Where the password is known, and where not.
      const held = await lab.inContainers(
        'wordpress',
        'ls /run/secrets; stat -c "%a %u" /run/secrets/wp_db_password',
      );
      expect(held.map((line) => line.replace(/^.*: /, ''))).toEqual(['wp_db_password', '400 0', 'wp_db_password', '400 0']); // prettier-ignore
      const shown = await sh('docker service inspect wordpress mysql; docker secret inspect mysql_password');
      const [password = ''] = (await lab.inContainers('mysql', 'cat /run/secrets/mysql_password')).map((line) => line.replace(/^.*: /, '')); // prettier-ignore
      expect(password).toMatch(/^[A-Za-z0-9+/]{27}=$/);
      expect(shown).not.toContain(password);
      await sh('docker service rm wordpress mysql');
    });

    test('as one file', async () => {
      await sh('docker stack deploy -c blog.yml blog');
      await lab.expectServices('blog', { mysql: 'replicated 1/1', wordpress: 'replicated 2/2' });
      await expectSite(30001, 'Wax');
      expect(await sh('docker stack rm blog')).toContain('Removing secret blog_mysql_root_password');
      // Another's, which the file only names, stays.
      expect(await sh("docker secret ls --format '{{.Name}}'")).toBe('mysql_password\nmysql_root_password');
    });
  });
}
