/** What `docker events` tells of the swarm's objects, from Skep and from Docker's own Swarm mode side by side. */
import { test } from 'vitest';
import { compare } from './compare.js';

const node = 'node1';

test('events of services, nodes, networks, secrets and configs, and filters for them', async () => {
  await compare(async (over) => {
    const { lab } = over;
    await lab.must(node, 'swarm init --advertise-addr 192.168.60.1');
    const now = (): Promise<string> => lab.sh(node, 'date +%s.%N');
    const since = await now();
    await lab.sh(node, 'echo x | docker secret create key - && echo y | docker config create page -');
    await lab.must(node, 'network create -d overlay --label a=1 net');
    await lab.until(node, 'network inspect -f {{.Driver}} net', (driver) => driver === 'overlay', 20_000);
    const service = '--name web --no-resolve-image --network net --secret key --config page';
    await lab.must(node, `service create -d ${service} skep/busybox:lab sleep 100000`);
    await lab.until(node, 'service ls --format {{.Replicas}}', (replicas) => replicas === '1/1', 60_000);
    await lab.must(node, 'service update -d --replicas 0 web');
    await lab.until(node, 'service ls --format {{.Replicas}}', (replicas) => replicas === '0/0', 60_000);
    await lab.must(node, 'node update --availability drain node1');
    await lab.must(node, 'node update --label-add a=b node1');
    await lab.must(node, 'service rm web');
    await lab.until(
      node,
      'ps -aq --filter label=com.docker.swarm.service.name=web',
      (ids) => ids === '',
      60_000,
    );
    await lab.must(node, 'network rm net');
    await lab.must(node, 'secret rm key');
    await lab.must(node, 'config rm page');
    const until = await now();

    for (const filters of [
      ['scope=swarm'],
      ['type=service'],
      ['type=node', 'event=update'],
      ['type=network', 'scope=swarm'],
      ['type=secret', 'type=config'],
      ['event=remove', 'scope=swarm'],
      ['secret=key'],
      ['config=page'],
      ['service=web'],
      ['node=node1'],
      ['type=service', 'type=secret', 'event=create'],
      ['service=nobody'],
    ]) {
      const lines = await lab.must(node, [
        ...['events', '--since', since, '--until', until, '--format'],
        '{{.Type}} {{.Action}} {{.Scope}} {{json .Actor.Attributes}}',
        ...filters.flatMap((each) => ['--filter', each]),
      ]);
      // How often an object is written in between is each one's own affair.
      over.note(`events with ${filters.join(' ')}`, [...new Set(lines.split('\n'))]);
    }
  }, 12);
});
