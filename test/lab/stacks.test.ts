/**
 * Stacks of the shapes that people have, deployed with the stock CLIs, word for word. Each comes to what its file says; the same file
 * once more replaces no task; one key changed in it changes that one service; and nothing is left of what is removed.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { ensureImage } from '../../src/lab/images.js';
import { initSwarm } from '../../src/lab/swarm.js';
import { loadStackImages, stackImages } from '../stacks/images.js';
import { describePrivateRegistry } from '../stacks/private-registry.js';
import { describeHandbook } from '../stacks/handbook.js';
import { describeSite } from '../stacks/site.js';
import { StackLab, home, lines, manager, nodes, soonMs } from '../stacks/stack-lab.js';
import type { Stack } from '../stacks/stacks.js';
import { deployable as deployed, hasNewestCli, newestCli, stacks } from '../stacks/stacks.js';
import { TestLab, eventually } from '../support/lab.js';

// Before the lab is up: its nodes have this machine's files below their own as they are then.
beforeAll(async () => void (await Promise.all(stackImages.map(ensureImage))), 60_000);
const cluster = new TestLab({ name: 'test-stacks', nodes: 3 });
const lab = new StackLab(cluster);
const { sh } = lab;

/** Every other stack is deployed with the newer of the stock CLIs, where there is one. */
const cliOf = (stack: Stack): string =>
  hasNewestCli && (stack.newestOnly || stacks.indexOf(stack) % 2 === 0) ? newestCli : 'docker';

const deploy = (stack: Stack, words = ''): Promise<string> =>
  sh(
    `${cliOf(stack)} stack deploy ${words} ${stack.files.map((file) => `-c ${file}`).join(' ')} ${stack.name}`,
  );
/** Rewrites a file of the manager's. */
async function edit(file: string, change: (text: string) => string): Promise<void> {
  const text = `${await sh(`cat ${file}`)}\n`;
  expect(change(text)).not.toBe(text);
  const { exitCode } = await cluster.lab.exec(manager, ['sh', '-c', `cat >${home}/${file}`], { input: change(text) }); // prettier-ignore
  expect(exitCode).toBe(0);
}
beforeAll(async () => {
  await Promise.all([initSwarm(cluster.lab, 1, () => undefined), loadStackImages(cluster, nodes)]);
  await cluster.run(manager, ['cp', '-r', '/run/lab/checkout/test/stacks', home]);
  await sh('docker network create -d overlay --attachable public');
}, soonMs);

describe('each stack comes to what its file says', () => {
  test('services, networks, configs, secrets and published ports', async () => {
    await Promise.all(
      deployed.map(async (stack) => {
        const said = await deploy(stack);
        for (const service of Object.keys(stack.services))
          expect(said).toContain(`Creating service ${stack.name}_${service}`);
        await lab.expectServices(stack.name, stack.services);
        const labelled = `--filter label=com.docker.stack.namespace=${stack.name} --format '{{.Name}}'`;
        for (const [kind, names] of [
          ['network', stack.networks],
          ['config', stack.configs ?? []],
          ['secret', stack.secrets ?? []],
        ] as const)
          expect([stack.name, kind, lines(await sh(`docker ${kind} ls ${labelled}`)).sort()]).toEqual([
            ...[stack.name, kind, names],
          ]);
        for (const node of nodes)
          for (const port of stack.ports)
            await eventually(`port ${port} of ${node}`, soonMs, () => lab.get(node, port), () => undefined); // prettier-ignore
      }),
    );
    expect(lines(await sh("docker stack ls --format '{{.Name}}: {{.Services}}'")).sort()).toEqual(
      deployed.map(({ name, services }) => `${name}: ${Object.keys(services).length}`).sort(),
    );
  });

  test('voting-app: the worker finds services of both its networks, and the database has its volume', async () => {
    await eventually('the worker has found both', soonMs, () => sh('docker service logs voting-app_worker'), (said) =>
      expect(said.match(/both answer/g)).toHaveLength(2),
    ); // prettier-ignore
    // A user's own volumes are the engine's: the file's key names it, and the stack.
    expect(await sh("docker volume ls --filter label=com.docker.stack.namespace=voting-app --format '{{.Name}}'")).toBe('voting-app_db-data'); // prettier-ignore
  });

  test('reverse-proxy: labels word for word, host ports where it runs, a network of others', async () => {
    expect(await lab.get(manager, 8000)).toContain('192.168.60.200');
    expect(JSON.parse(await sh("docker service inspect reverse-proxy_proxy -f '{{json .Spec.Labels}}'"))).toEqual({
      'com.docker.stack.image': 'skep/whoami:lab',
      'com.docker.stack.namespace': 'reverse-proxy',
      'traefik.enable': 'true',
      'traefik.http.routers.dashboard.rule': 'Host(`proxy.example.org`)',
      'traefik.http.routers.dashboard.service': 'api@internal',
      'traefik.http.services.dashboard.loadbalancer.server.port': '8080',
    }); // prettier-ignore
    const found = await lab.inContainers('reverse-proxy_proxy', 'wget -q -O - http://shop.example.org/');
    expect(found).toHaveLength(1);
    const volume = await sh(
      'docker volume inspect reverse-proxy_certificates -f \'{{index .Labels "keep"}}\'',
    );
    expect(volume).toBe('yes');
  });

  test('monitoring: configuration in its place, one exporter a node that knows which', async () => {
    const script = 'tail -n 1 /etc/prometheus/prometheus.yml; ls -ln /etc/prometheus/rules.d/nodes.yml';
    const [last, listed] = await lab.inContainers('monitoring_prometheus', script);
    expect(last).toContain('        port: 9100');
    expect(listed).toMatch(/: -r--r----- /);
    const ids = lines(await sh("docker node ls --format '{{.Hostname}}: {{.Hostname}} {{.ID}}'")).sort();
    expect(await lab.inContainers('monitoring_node-exporter', 'echo $(hostname) $NODE_ID')).toEqual(ids);
  });

  test('static-site: pages are configs, one of them a template', async () => {
    const page = await sh('cat files/index.html');
    for (const node of nodes) {
      expect((await lab.get(node, 7200, '/index.html')).trimEnd()).toBe(page);
      expect(await lab.get(node, 7200, '/about.html')).toMatch(/^<p>Task [12] of static-site_web\.$/m);
    }
  });

  test('queue: at most two a node, files of variables, limits', async () => {
    const hosts = await lab.inContainers('queue_fast', 'echo $QUEUE $CONCURRENCY');
    expect(hosts.map((line) => line.split(': ')[1])).toEqual(Array.from({ length: 4 }, () => 'fast 4'));
    for (const node of nodes)
      expect(hosts.filter((line) => line.startsWith(node)).length).toBeLessThanOrEqual(2);
    for (const line of await lab.inContainers('queue_slow', 'echo $QUEUE $PREFETCH $REGION'))
      expect(line).toContain('slow 1 north');
    const limits = "docker service inspect queue_fast -f '{{json .Spec.TaskTemplate.Resources.Limits}}'";
    expect(JSON.parse(await sh(limits))).toEqual({
      NanoCPUs: 500_000_000,
      MemoryBytes: 52_428_800,
      Pids: 100,
    });
  });

  test('log-collector: one a node that knows where it is; both addresses of what has no VIP', async () => {
    const said = await sh('docker service logs --raw log-collector_collector');
    expect(said.split('\n').sort()).toEqual(nodes.map((node) => `collecting on ${node}`));
    for (const line of await lab.inContainers(
      'log-collector_collector',
      'nslookup logstore | grep -c ^Address',
    ))
      // The name server's own, and one a task.
      expect(line).toMatch(/: 3$/);
  });

  test('three-tiers: names of one network mean nothing in another', async () => {
    for (const name of ['backend', 'api.internal', 'three-tiers_api'])
      expect(await lab.inContainers('three-tiers_edge', `wget -q -O /dev/null http://${name}/ && echo ${name}`)).toEqual(nodes.map((node) => `${node}: ${name}`)); // prettier-ignore
    for (const line of await lab.inContainers(
      'three-tiers_edge',
      'nslookup store >/dev/null 2>&1 || echo none',
    ))
      expect(line).toContain('none');
    for (const line of await lab.inContainers('three-tiers_store', 'ip -4 addr show eth0 | grep -c 10.77.0.'))
      expect(line).not.toMatch(/: 0$/);
    expect(await lab.inContainers('three-tiers_api', 'cat /proc/sys/net/core/somaxconn')).toHaveLength(2);
  });

  test('canary: the second file over the first, and one name for both', async () => {
    for (const line of await lab.inContainers('canary_app', 'echo $RELEASE $LOG_LEVEL'))
      expect(line).toContain(': 1 debug');
    for (const line of await lab.inContainers('canary_canary', 'nslookup app.example | grep -c ^Address'))
      expect(line).toMatch(/: 3$/);
  });
});

describe('a stack that is deployed again', () => {
  const spec = async (): Promise<string[]> => {
    const names = lines(await sh("docker service ls --format '{{.Name}}'")).sort();
    return lines(await sh(`docker service inspect --format '{{json .Spec}}' ${names.join(' ')}`));
  };

  test('replaces no task if nothing changed, and those of one service if one of its keys did', async () => {
    const [specsBefore, before] = [await spec(), await lab.tasks()];
    await Promise.all(deployed.map((stack) => deploy(stack)));
    expect(await spec()).toEqual(specsBefore);

    for (const { change } of deployed)
      await edit(change.file, (text) => text.replace(change.from, change.to));
    await Promise.all(deployed.map((stack) => deploy(stack)));
    // The later change is done by then, so an earlier one that replaced anything would have been.
    for (const { name, change } of deployed) {
      const service = `${name}_${change.service}`;
      await eventually(`${service} is as the changed file says`, soonMs, () => lab.tasks(), (now) => {
        const kept = now[service]!.filter((id) => before[service]!.includes(id));
        expect(kept).toEqual(change.replaces ? [] : before[service]);
      }); // prettier-ignore
      const { [change.service]: count, ...others } = deployed.find((stack) => stack.name === name)!.services;
      await lab.expectServices(name, { ...others, [change.service]: change.replicas ?? count! });
    }
    const changed = new Set(deployed.map(({ name, change }) => `${name}_${change.service}`));
    const others = (all: Record<string, string[]>): unknown =>
      Object.entries(all).filter(([service]) => !changed.has(service));
    expect(others(await lab.tasks())).toEqual(others(before));
  });

  test('loses what its file no longer has, with --prune alone', async () => {
    const voting = stacks.find(({ name }) => name === 'voting-app')!;
    const { visualizer: _, ...rest } = voting.services;
    await edit('voting-app.yml', (text) => text.replace(/\n {2}visualizer:\n(?: {4}.*\n)+/, ''));
    await deploy(voting);
    await lab.expectServices(voting.name, voting.services);
    expect(await deploy(voting, '--prune')).toContain('Removing service voting-app_visualizer');
    await lab.expectServices(voting.name, rest);
  });

  test('leaves nothing when it is removed', async () => {
    await Promise.all(deployed.map((stack) => sh(`${cliOf(stack)} stack rm ${stack.name}`)));
    expect(await sh("docker stack ls --format '{{.Name}}'")).toBe('');
    const label = '--filter label=com.docker.stack.namespace -q';
    for (const kind of ['service', 'network', 'config', 'secret'])
      expect(await sh(`docker ${kind} ls ${label}`)).toBe('');
    for (const node of nodes)
      await eventually(`no container on ${node}`, soonMs, () => cluster.run(node, ['sh', '-c', `docker -H unix:///run/docker.sock ps -a ${label}; docker -H unix:///run/docker.sock network ls ${label}`]), (left) =>
        expect(left).toBe(''),
      ); // prettier-ignore
    for (const node of nodes) await cluster.expectVerified(node);
  });
});

test.runIf(hasNewestCli)('the newer CLI shows what two files come to, and asks nobody', async () => {
  const files = '-c canary.yml -c canary.next.yml';
  const shown = await sh(`DOCKER_HOST=unix:///nowhere ${newestCli} stack config ${files}`);
  expect(shown).toContain('LOG_LEVEL: debug');
  expect(shown).toContain('canary:');
});

describePrivateRegistry(lab);
describeSite(lab);
describeHandbook(lab);
