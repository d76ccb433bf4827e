/** What `ipvs` balances of IPv6 on two nodes of one kernel that has it, told as one JSON line a step. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ipvsEngine } from '../../../src/dataplane/balancer/ipvs.js';
import { Ipv6Cluster, nodes, publishedPort, twinOf, vtep } from '../../support/ipv6-cluster.js';
import { mynetAddress } from '../../unit/dataplane/plan/network-state.js';

const modules = ['ip6table_filter', 'ip6table_mangle', 'ip6table_nat', 'ip6table_raw', 'ip6t_REJECT'];
const directory = process.env['SKEP_MODULES'] ?? '/tmp/modules';
const report = (step: string, values: object): void => console.log(JSON.stringify({ step, ...values }));

async function main(): Promise<void> {
  await promisify(execFile)('modprobe', ['-d', directory, '-a', ...modules]);
  await using cluster = await Ipv6Cluster.create('six', ipvsEngine);
  await cluster.start();
  for (const part of [3, 4]) {
    await cluster.serve(part);
    await cluster.echo(part);
  }
  const vip = twinOf(mynetAddress(2));
  report('VIP', { answers: await cluster.call('c5', vip, 80, 10) });
  report('own VIP', { answers: await cluster.call('c3', vip, 80, 10) });
  for (const node of nodes)
    report(`published port of node ${node}`, {
      answers: await cluster.call('client', vtep(node), publishedPort, 10),
    });
  report('datagrams', { answered: await cluster.exchange('client', vtep(2), publishedPort, 10) });
  const table = await cluster.kernel(1).table({ kind: 'host' });
  report('table', {
    // Of TCP, UDP and SCTP; IPVS adds up what they have counted every two seconds.
    servers: (await table.counters()).map(({ family, realServers }) => [family, realServers.length]),
    flows: (await table.flows(100)).filter(({ destination }) => destination === vtep(1)).length,
  });
  const before = await Promise.all(nodes.map((node) => cluster.differences(node)));
  for (const node of nodes) await cluster.freshPass(node, cluster.desired(node));
  report('verify', {
    before: before.flat(),
    after: (await Promise.all(nodes.map((node) => cluster.differences(node)))).flat(),
  });
  await cluster.run('node1', 'ip6tables', '-F', 'SKEP-FORWARD');
  report('flushed', { seen: await cluster.kernel(1).refresh({ kind: 'host' }, 'chains') });
}

await main();
// Sockets of the namespaces that are gone stay open.
process.exit(0);
