/** A registry with a password, which is a stack of the cluster's own: who may pull from it, and which digests services keep. */
import { describe, expect, test } from 'vitest';
import { checkout } from '../../src/lab/lab.js';
import { eventually } from '../support/lab.js';
import { password, user } from '../support/registry.js';
import type { StackLab } from './stack-lab.js';
import { lines, nodes, soonMs } from './stack-lab.js';

export function describePrivateRegistry(lab: StackLab): void {
  const { sh } = lab;
  describe('a registry that asks who is there', () => {
    const registry = '127.0.0.1:5050';
    const image = `${registry}/team/app:1`;
    const running = "--filter desired-state=running --format '{{.Image}} {{.CurrentState}}'";
    const imageOf = (service: string): Promise<string> =>
      sh(`docker service inspect ${service} -f '{{.Spec.TaskTemplate.ContainerSpec.Image}}'`);

    /** Pushes another image by the same name, keeping none. @returns its digest */
    async function push(content: string): Promise<string> {
      const pushed = await sh(
        `docker tag skep/whoami:lab ${image} && docker create --name changed --env CONTENT=${content} ${image} &&
       docker commit changed ${image} && docker push ${image} && docker rm changed && docker image rm ${image}`,
      );
      return /digest: (sha256:[0-9a-f]{64})/.exec(pushed)?.[1] ?? expect.fail(pushed);
    }
    const expectContent = (content: string): Promise<unknown> =>
    eventually(`${content} on all nodes`, soonMs, () => lab.inContainers('app', 'echo $CONTENT'), (found) =>
      expect(found).toEqual(nodes.map((node) => `${node}: ${content}`)),
    ); // prettier-ignore
    const expectRunning = (service: string, count: number, digest: string): Promise<unknown> =>
    eventually(`${service} of ${digest}`, soonMs, () => sh(`docker service ps ${service} --no-trunc ${running}`), (rows) =>
      expect(lines(rows).filter((row) => row.startsWith(`${image}@${digest} Running`))).toHaveLength(count),
    ); // prettier-ignore

    test('nodes pull with the credentials of the service, by digest; others are refused', async () => {
      await sh('docker stack deploy -c registry.yml registry');
      await lab.expectServices('registry', { registry: 'replicated 1/1' });
      await eventually('a login', soonMs, () => sh(`echo '${password}' | docker login -u ${user} --password-stdin ${registry}`), (said) =>
      expect(said).toContain('Login Succeeded'),
    ); // prettier-ignore
      const first = await push('first');

      await sh(`docker service create --detach --name app --replicas 3 ${image}`);
      await eventually('a refusal', soonMs, () => sh("docker service ps app --no-trunc --format '{{.CurrentState}} {{.Error}}'"), (said) =>
      expect(said).toMatch(new RegExp(`^Rejected .* "No such image: ${image}: .*no basic auth credentials"$`, 'm')),
    ); // prettier-ignore
      expect(await imageOf('app')).toBe(image);

      await sh('docker service rm app');
      await sh(`docker service create --detach --name app --replicas 3 --with-registry-auth ${image}`);
      await expectRunning('app', 3, first);
      await sh(`docker service create --detach --name other --with-registry-auth ${image}`);

      const second = await push('second');
      await sh(`docker service update --detach --with-registry-auth --image ${image} app`);
      await expectRunning('app', 3, second);
      await expectRunning('other', 1, first);
      await expectContent('second');
      // The credentials stay with the service: who updates it later needs none, nor does a node that has nothing of it yet.
      await sh(
        `docker service update --detach --no-resolve-image --image ${image}@${await push('third')} app`,
      );
      await expectContent('third');
    });

    test('a stack takes digests anew always, when the name has changed, or never', async () => {
      const file = "version: '3.7'\\nservices: { web: { image: IMAGE } }\\n";
      const fourth = await push('fourth');
      const deployAs = (how: string, name = 'pinned'): Promise<string> =>
        sh(
          `printf "${file.replace('IMAGE', image)}" | docker stack deploy --with-registry-auth --resolve-image ${how} -c - ${name}`,
        );
      await deployAs('always');
      expect(await imageOf('pinned_web')).toBe(`${image}@${fourth}`);
      const fifth = await push('fifth');
      await deployAs('changed');
      expect(await imageOf('pinned_web')).toBe(`${image}@${fourth}`);
      await deployAs('always');
      expect(await imageOf('pinned_web')).toBe(`${image}@${fifth}`);
      await deployAs('never', 'unpinned');
      expect(await imageOf('unpinned_web')).toBe(image);
      await sh('docker stack rm pinned; docker stack rm unpinned');
    });

    test('the credentials are in no answer, in no log and on no disk', async () => {
      const ids = await sh(
        'docker service ps -q --no-trunc app other | xargs docker inspect; docker service inspect app other',
      );
      const directories = ['/var/lib/skep', '/run/skep', '/run/lab/log'];
      const input = JSON.stringify({
        directories,
        needles: { password: Buffer.from(password).toString('base64') },
      });
      for (const node of nodes) {
        const argv = [process.execPath, `${checkout}/test/support/disk-search.mjs`];
        const { stdout } = await lab.cluster.lab.exec(node, argv, { input });
        const { found, files } = JSON.parse(stdout) as { found: string[]; files: number };
        expect([node, found]).toEqual([node, []]);
        expect(files).toBeGreaterThan(0);
      }
      const forms = [0, 1, 2].map((before) => Buffer.from(`${'x'.repeat(before)}"password":"${password}"`).toString('base64').slice(4, -4)); // prettier-ignore
      for (const form of forms) expect(ids).not.toContain(form);
      await sh('docker service rm app other; docker stack rm registry');
    });
  });
}
