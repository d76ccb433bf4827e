/** A stack's config that is edited and deployed again, which Swarm refuses: what its label has the swarm do (docs/adr/0036). */
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/lab.js';
import type { StackLab } from './stack-lab.js';
import { lines, soonMs } from './stack-lab.js';

export function describeHandbook(lab: StackLab): void {
  const { sh } = lab;
  const expectPages = (page: string): Promise<unknown> =>
    eventually(`two pages that say ${page}`, soonMs, () => lab.inContainers('handbook_web', 'cat /srv/index.html'), (found) =>
      expect(found.map((line) => line.replace(/^node\d: /, ''))).toEqual([page, page]),
    ); // prettier-ignore
  const updated = (state: string): Promise<unknown> =>
    eventually(`the update is ${state}`, soonMs, () => sh("docker service inspect -f '{{.UpdateStatus.State}}' handbook_web"), (found) =>
      expect(found).toBe(state),
    ); // prettier-ignore
  const versions = async (): Promise<string[]> =>
    lines(await sh("docker config ls --filter name=handbook_page --format '{{.Name}} {{.ID}}'")).sort();

  describe('a config that is a version of its name', () => {
    test('is edited in its file, deployed again, taken back with the service, and goes when nobody has it', async () => {
      await sh('echo first >files/index.html; docker stack deploy -c handbook.yml handbook');
      await expectPages('first');
      const [first] = await versions();
      expect(first).toMatch(/^handbook_page \w+$/);
      const firstId = first!.split(' ')[1]!;

      await sh('echo second >files/index.html; docker stack deploy -c handbook.yml handbook');
      await updated('completed');
      await expectPages('second');
      const [current, former] = await versions();
      expect(current).toMatch(/^handbook_page \w+$/);
      expect(current).not.toBe(first);
      const secondId = current!.split(' ')[1]!;
      expect(former).toMatch(new RegExp(`^handbook_page\\.\\w+ ${firstId}$`));

      await sh('docker service rollback -d handbook_web');
      await updated('rollback_completed');
      await expectPages('first');

      await sh('echo third >files/index.html; docker stack deploy -c handbook.yml handbook');
      await updated('completed');
      await expectPages('third');
      // What runs, and what a rollback would bring back.
      await eventually('two versions are left', soonMs, versions, (left) => {
        expect(left).toHaveLength(2);
        expect(left.join(' ')).toContain(firstId);
        expect(left.join(' ')).not.toContain(secondId);
      });

      await sh('docker stack rm handbook');
      await eventually('no version is left', soonMs, versions, (left) => expect(left).toEqual([]));
    });
  });
}
