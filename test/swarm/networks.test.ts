/** Networks as an administrator makes, looks at, uses and removes them: Skep and Docker's own Swarm mode side by side. */
import { test } from 'vitest';
import { compare } from './compare.js';

const node = 'node1';

test('networks are made, listed, used and removed', async () => {
  await compare(async (over) => {
    const { lab } = over;
    await lab.must(node, 'swarm init --advertise-addr 192.168.60.1');
    const create = (words: string): Promise<string> => over.docker(node, `network create ${words}`);
    await create('-d overlay --attachable --label a=1 open');
    await create('-d overlay --internal --label a=2 --subnet 10.70.0.0/24 --gateway 10.70.0.9 closed');
    await create('-d overlay --subnet 10.71.0.0/24 --subnet 10.72.0.0/24 --ip-range 10.72.0.128/25 two');
    await lab.must(node, 'network create --config-only --subnet 192.168.78.0/24 -o parent=eth0 cfg');
    await create('-d macvlan --scope swarm --config-from cfg --attachable mv');
    await create('--scope swarm --label a=1 br');
    for (const refused of [
      '-d overlay open',
      '-d overlay host',
      '-d overlay --scope local x',
      '-d overlay --ingress x',
      '-d overlay --subnet 10.73.0.0/24 --gateway 10.74.0.1 x',
      '-d overlay --subnet 10.73.0.0/24 --subnet 10.73.0.0/25 x',
      '-d nonsense --scope swarm x',
      '-d macvlan --scope swarm --config-from cfg --subnet 10.71.0.0/24 x',
      '-d bridge --scope swarm --config-only x',
    ])
      await create(refused);
    // Swarm allocates after it has answered.
    for (const name of ['open', 'closed', 'two'])
      await lab.until(
        node,
        `network inspect -f {{.Driver}} ${name}`,
        (driver) => driver === 'overlay',
        20_000,
      );

    const shown = '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.Labels}}';
    for (const filter of [
      ['scope=swarm'],
      ['driver=overlay'],
      ['driver=macvlan'],
      ['driver=bridge', 'scope=swarm'],
      ['label=a'],
      ['label=a=1', 'driver=overlay'],
      ['name=closed'],
      ['dangling=true', 'scope=swarm'],
      ['type=custom', 'driver=overlay'],
      ['scope=nonsense'],
      ['dangling=maybe'],
    ])
      await over.docker(node, [
        ...['network', 'ls', '--format', shown],
        ...filter.flatMap((each) => ['--filter', each]),
      ]);
    for (const name of ['closed', 'two', 'mv', 'br', 'nobody'])
      await over.docker(node, [
        ...['network', 'inspect', name, '-f'],
        '{{.Driver}} {{.Scope}} {{.Internal}} {{.Attachable}} {{json .IPAM}} {{json .ConfigFrom}} {{json .Labels}}',
      ]);

    await over.docker(
      node,
      'service create -d --name web --no-resolve-image --replicas 2 --network two --network mv skep/busybox:lab sleep 100000',
    );
    await over.spread(node, 'web', '2/2');
    await over.docker(node, [
      ...['network', 'inspect', '--verbose', 'two', '-f'],
      '{{len .Peers}} {{range $name, $service := .Services}}{{if $name}}{{$name}} {{len $service.Tasks}}{{end}}{{end}}',
    ]);
    await over.docker(node, [
      ...['network', 'inspect', 'mv', '-f'],
      '{{len .Containers}} {{json .IPAM.Config}} {{json .Options}} {{json .ConfigFrom}}',
    ]);
    await lab.must(node, 'run -d --name plain skep/busybox:lab sleep 100000');
    for (const words of [
      'network connect closed plain',
      'network rm two',
      'network rm mv',
      'network rm cfg',
      'network rm nobody',
      'network prune -f --filter label=a=2',
      'service rm web',
    ])
      await over.docker(node, words);
    await lab.until(
      node,
      'ps -aq --filter label=com.docker.swarm.service.name=web',
      (ids) => ids === '',
      60_000,
    );
    for (const words of [
      'network rm two mv br',
      'network prune -f --filter label=a=1',
      'network rm cfg',
      'network ls --filter scope=swarm --format {{.Name}}',
    ])
      await over.docker(node, words);
  }, 42);
});
