/**
 * Becoming a manager and ceasing to be one, joining, leaving, removal, availability and the loss of a node: an administrator cannot
 * tell Skep from Docker's own Swarm mode by what the CLI says. Both run here, side by side.
 */
import { test } from 'vitest';
import { compare } from './compare.js';

const image = 'skep/whoami:lab';
const address = (node: string): string => `192.168.60.${node.slice(-1)}`;
const at = (node: string): string => `${address(node)}:2377`;
const nodeRows = 'node ls --format {{.Hostname}}={{.Status}}={{.Availability}}={{.ManagerStatus}}';

/** Where Skep says something else on purpose. */
const intended: Readonly<Record<string, string>> = {
  'node2: docker swarm join --token TOKEN 192.168.60.1:2377':
    'a wrong secret is refused in the same words, without "rpc error: code = InvalidArgument desc ="',
};

test('managers come and go', async () => {
  await compare(
    async (over) => {
      const { lab } = over;
      const docker = (node: string, ...commands: string[]): Promise<unknown> =>
        commands.reduce<Promise<unknown>>(
          (done, words) => done.then(() => over.docker(node, words)),
          Promise.resolve(),
        );
      const rows = (asked: string, ...expected: string[]): Promise<void> =>
        over.until(asked, nodeRows, (output) => output.split('\n').sort().join(' ') === expected.join(' '));

      await docker('node1', 'node ls', 'swarm join-token worker', 'swarm update --cert-expiry 720h');
      await docker('node1', 'swarm unlock-key', 'swarm unlock', 'swarm leave');
      await lab.must('node1', `swarm init --advertise-addr ${address('node1')}`);
      const managerToken = await lab.must('node1', 'swarm join-token -q manager');
      const workerToken = await lab.must('node1', 'swarm join-token -q worker');
      await docker('node1', `swarm join --token ${workerToken} ${at('node2')}`, 'swarm init');
      await docker('node2', `swarm join --token SWMTKN-1-abc ${at('node1')}`);
      await docker('node2', `swarm join --token ${workerToken.slice(0, -4)}zzzz ${at('node1')}`);
      await docker('node2', `swarm join --token ${workerToken} ${at('node1')}`);
      await docker('node2', 'node ls', 'service ls', 'node inspect self', 'node promote node2');
      await docker('node2', 'swarm join-token worker', 'swarm ca', 'swarm unlock-key');
      await docker(
        'node1',
        'node promote node2',
        'node promote node2',
        'node promote nosuch',
        'node demote nosuch',
      );
      const two = ['node1=Ready=Active=Leader', 'node2=Ready=Active=Reachable'];
      await rows('node1', ...two);
      await rows('node2', ...two);
      await docker('node2', 'swarm leave', 'node rm node2', 'node rm --force node2');
      await docker('node3', `swarm join --token ${managerToken} --availability drain ${at('node2')}`);
      await rows('node3', ...two, 'node3=Ready=Drain=Reachable');
      await docker('node3', 'node update --availability foo node3', 'node update --role foo node3');
      await docker('node3', 'node update --label-add a=b node3', 'node update --label-rm zz node3');
      await docker('node3', 'node update --availability active node3', 'node demote node2');
      await rows('node1', two[0]!, 'node2=Ready=Active=', 'node3=Ready=Active=Reachable');
      await docker('node1', 'node rm node2');
      await lab.until('node2', 'info -f {{.Swarm.ControlAvailable}}', (output) => output === 'false', 20_000);
      await docker('node2', 'swarm leave', 'info -f {{.Swarm.LocalNodeState}}');
      await lab.until(
        'node1',
        'node inspect -f {{.Status.State}} node2',
        (output) => output === 'down',
        20_000,
      );
      await docker('node1', 'node rm node2');
      await rows('node1', two[0]!, 'node3=Ready=Active=Reachable');
      await docker('node3', 'swarm leave');
      await docker('node1', 'node demote node3');
      await rows('node1', two[0]!, 'node3=Ready=Active=');
      await docker('node1', 'swarm update --task-history-limit -1', 'swarm update --cert-expiry 1s');
      await docker('node1', 'swarm update --dispatcher-heartbeat 0s', 'swarm leave');
      await docker('node1', 'swarm leave --force', 'node ls', 'swarm leave');
    },
    26,
    intended,
  );
});

test('nodes are drained, paused, lost and removed', async () => {
  await compare(
    async (over) => {
      const { lab } = over;
      await lab.must('node1', `swarm init --advertise-addr ${address('node1')}`);
      const token = await lab.must('node1', 'swarm join-token -q worker');
      for (const node of ['node2', 'node3'])
        await lab.must(node, `swarm join --token ${token} ${at('node1')}`);
      const docker = (words: string): Promise<string> => over.docker('node1', words);
      const both = 'service ls --format {{.Name}}={{.Replicas}}';
      const statusOf = (node: string, state: string): Promise<void> =>
        over.until('node1', `node inspect ${node} -f {{.Status.State}}`, (output) => output === state);
      await docker(`service create -d --name web --replicas 6 --no-resolve-image ${image}`);
      await docker(`service create -d --name everywhere --mode global --no-resolve-image ${image}`);
      await over.spread('node1', 'web', '6/6');
      await over.spread('node1', 'everywhere', '3/3');
      await docker('node update --availability drain node2');
      await over.spread('node1', 'web', '6/6');
      await over.spread('node1', 'everywhere', '2/2');
      await docker('node update --availability active node2');
      await over.spread('node1', 'everywhere', '3/3');
      await over.spread('node1', 'web', '6/6');
      await docker('node update --availability pause node3');
      // Numbers of tasks that nodes can share evenly: who gets the odd one is anybody's guess.
      await docker('service scale -d web=8');
      await over.spread('node1', 'web', '8/8');
      await docker('node update --availability active node3');
      await lab.cutPower('node3');
      await statusOf('node3', 'down');
      await docker('node inspect node3 -f {{.Status.Message}}');
      // The tasks of a node that is down count as running until it is back and says otherwise.
      await over.until('node1', both, (output) => output.includes('web=11/8'));
      await docker('service ps web --filter node=node3 --format {{.DesiredState}}={{.CurrentState}}');
      await docker('node rm nosuch');
      await lab.restorePower('node3');
      await statusOf('node3', 'ready');
      await over.spread('node1', 'everywhere', '3/3');
      await over.spread('node1', 'web', '8/8');
      await docker('node rm node3');
      await docker('node rm --force node3');
      await over.spread('node1', 'everywhere', '2/2');
      await over.spread('node1', 'web', '8/8');
      await over.docker('node3', 'swarm leave');
      for (const words of ['node ls --format {{.Hostname}}={{.Status}}', both, 'service rm web everywhere'])
        await docker(words);
    },
    26,
    intended,
  );
});
