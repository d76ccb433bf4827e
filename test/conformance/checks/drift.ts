/** What somebody else changed in the kernel, and leaving. The last checks: afterwards the nodes are in no cluster. */
import assert from 'node:assert';
import { access } from 'node:fs/promises';
import type { BalancedScope } from '../../../src/dataplane/kernel/linux-kernel.js';
import type { Op } from '../../../src/dataplane/plan/diff.js';
import { line } from '../../../src/dataplane/plan/objects.js';
import { mynetVni, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { assertEven } from '../check.js';
import type { World } from '../world.js';
import { nodes, ports, targetPorts, vip } from '../world.js';

/** Both kinds of frontend work. */
async function assertBalanced({ client, caller }: World): Promise<void> {
  assertEven(await client.many({ host: vtepOf(1), port: ports.web }, 12));
  assertEven(await caller.many({ host: vip, port: targetPorts.web }, 12));
}

/** A pass of the node finds the difference and ends it. */
async function assertRepaired(world: World, node: number): Promise<void> {
  const differences = await world.cluster.reconciler(node).verify();
  assert.notDeepEqual(differences, [], 'the difference is seen');
  await world.cluster.restart(node);
  assert.deepEqual(await world.cluster.reconciler(node).verify(), []);
  await assertBalanced(world);
}

export const driftChecks: readonly Check[] = [
  {
    name: 'virtual and real servers that somebody removed come back',
    run: async (world) => {
      const scopes: readonly BalancedScope[] = [{ kind: 'host' }, { kind: 'overlay', vni: mynetVni }];
      await world.cluster.asStranger(1, async (stranger) => {
        for (const scope of scopes) {
          const table = await stranger.table(scope);
          const objects = await table.observe(true);
          const realServers = objects.filter((one) => one.kind === 'realServer');
          const last = realServers.at(-1);
          const virtualServer = objects.find(
            (one) => one.kind === 'virtualServer' && one.mark !== last?.mark,
          );
          // An overlay has one virtual server: then only a real one goes.
          for (const object of [last, virtualServer])
            if (object) await table.apply([{ op: 'delete', object }]);
        }
      });
      await assertRepaired(world, 1);
    },
  },
  {
    name: 'filters that somebody removed come back',
    sameOnAllKernels: true,
    engines: ['ebpf'],
    run: async (world) => {
      const devices = [
        ['node1', 'eth0', 'ingress'],
        ['node1', 'lo', 'egress'],
        ['node1', 'sk-ingress', 'ingress'],
      ] as const;
      for (const [name, device, hook] of devices) {
        await world.cluster.run(name, 'tc', 'filter', 'del', 'dev', device, hook);
        await assertRepaired(world, 1);
      }
      const overlayPath = world.cluster.overlayPath(1, mynetVni);
      const links = await world.cluster.runAt(overlayPath, 'ip', '-br', 'link');
      for (const [port] of links.matchAll(/^skp\w+/gm)) {
        await world.cluster.runAt(overlayPath, 'tc', 'qdisc', 'del', 'dev', port, 'clsact');
        await assertRepaired(world, 1);
      }
    },
  },
  {
    name: 'rules that somebody flushed, or changed into others of their size, are found by a look of the kind that is due',
    run: async (world) => {
      const reconciler = world.cluster.reconciler(1);
      const iptables = (...words: string[]): Promise<string> =>
        world.cluster.run('node1', 'iptables', '-t', 'raw', ...words);
      const rules = async (): Promise<string[]> =>
        (await iptables('-S', 'SKEP-RAW')).split('\n').filter((row) => row.startsWith('-A '));
      const wanted = await rules();
      const elsewhere = (rule: string): string =>
        rule.replace(/ -i \S+/, ' -i elsewhere0').replace(' 240.0.0.0/4', ' 224.0.0.0/4');
      const place = wanted.findIndex((rule) => elsewhere(rule) !== rule);
      const other = elsewhere(wanted[place] ?? assert.fail(wanted.join('; '))).replace('-A SKEP-RAW ', '');
      await iptables('-F', 'SKEP-RAW');
      await reconciler.refresh('chains');
      await reconciler.pass();
      assert.deepEqual(await rules(), wanted, 'flushed');
      await iptables('-R', 'SKEP-RAW', String(place + 1), ...other.trim().split(' '));
      assert.notDeepEqual(await rules(), wanted);
      await reconciler.refresh('all');
      await reconciler.pass();
      assert.deepEqual(await rules(), wanted, 'changed');
    },
  },
  {
    name: 'what somebody breaks just as before, as soon as it is repaired, is found again',
    sameOnAllKernels: true,
    engines: ['ipvs'],
    run: async (world) => {
      const host = { kind: 'host' } as const;
      const reconciler = world.cluster.reconciler(1);
      await world.cluster.asStranger(1, async (stranger) => {
        const look = async () => (await stranger.observe(host, [], true, [4])).objects;
        const objects = await look();
        const chain = objects.find((one) => one.kind === 'chain' && one.name === 'SKEP-RAW');
        assert(chain?.kind === 'chain');
        const others = ['realServer', 'ipsetEntry'].map(
          (kind) => objects.find((one) => one.kind === kind) ?? assert.fail(`there is a ${kind}`),
        );
        const breaks: readonly Op[] = [
          { op: 'change', object: { ...chain, rules: [] }, was: chain },
          ...others.map((object): Op => ({ op: 'delete', object })),
        ];
        for (const time of ['the first time', 'the second time']) {
          await stranger.apply(host, breaks);
          await reconciler.refresh('all');
          await reconciler.pass();
          const lines = (await look()).map(line);
          for (const object of [chain, ...others])
            assert(lines.includes(line(object)), `${time}: ${line(object)}`);
        }
      });
    },
  },
  {
    name: 'nothing is left when the nodes leave their cluster',
    run: async (world) => {
      await world.leave();
      assert.deepEqual(await world.cluster.verify(), []);
      for (const node of nodes) {
        const name = `node${node}`;
        const commands = ['iptables-save', 'ip route show table all', 'ip rule', 'ip link', 'ip neigh'];
        if (world.engine === 'ipvs') commands.push('ipset save', 'ipvsadm -S -n');
        for (const device of ['eth0', 'lo', 'docker0'])
          for (const hook of ['ingress', 'egress']) commands.push(`tc filter show dev ${device} ${hook}`);
        const texts = await Promise.all(
          commands.map((command) =>
            world.cluster.run(name, ...command.split(' ')).catch((err: Error) => err.message),
          ),
        );
        const found = texts.join('\n').match(/SKEP-\S*|skep[-_]\S*|sk-\S*|proto 94|-f \d+|Error.*/g) ?? [];
        assert.deepEqual(found, [], name);
        const overlays = world.cluster.overlayPath(node, mynetVni);
        await assert.rejects(access(overlays), 'the overlay is gone');
        await assert.rejects(access(world.pinsOf(node)), 'the pins are gone');
      }
    },
  },
];
