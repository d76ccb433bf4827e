/** The libnetwork driver against a real Docker Engine and this machine's own kernel, which has VXLAN and no IPVS. */
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Engine } from '../../src/controlplane/dockerd/client.js';
import { differenceLine } from '../../src/dataplane/difference.js';
import { parseNodeNetworkState } from '../../src/dataplane/parse-state.js';
import { portName } from '../../src/dataplane/sandbox.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { lostRequest } from '../../src/model/driver-call.js';
import type { TaskId } from '../../src/model/ids.js';
import { eventually, image, PluginHost, vtep } from './plugin-host.js';

const vni = 4242;
const bin = resolve(import.meta.dirname, '../../bin');

/** Three local endpoints, `more` of them, and one elsewhere; `vip` gives their service a VIP, which this kernel cannot balance. */
function state(revision: number, vip = '', more: readonly number[] = []): NodeNetworkState {
  const endpoint = (task: string, nodeId: string, host: number) => ({
    taskId: task,
    serviceId: 'web',
    nodeId,
    address: `10.20.0.${host}`,
    mac: `02:42:0a:14:00:${host.toString(16).padStart(2, '0')}`,
    name: `web.1.${task}`,
    serving: true,
  });
  return parseNodeNetworkState({
    revision,
    nodeId: 'node1',
    vtep,
    dataPathPort: 4789,
    aliasRange: '240.0.0.0/4',
    overlays: [
      {
        id: 'overlay1',
        name: 'mynet',
        vni,
        subnet: '10.20.0.0/24',
        gateway: '10.20.0.1',
        ingress: false,
        internal: false,
        own: { address: '10.20.0.2', mac: '02:42:0a:14:00:02' },
        peers: [{ nodeId: 'node2', vtep: '192.0.2.2', address: '10.20.0.3', mac: '02:42:0a:14:00:03' }],
        endpoints: [
          endpoint('task5', 'node1', 5),
          endpoint('task6', 'node1', 6),
          endpoint('task7', 'node1', 7),
          ...more.map((host) => endpoint(`task${host}`, 'node1', host)),
          endpoint('task9', 'node2', 9),
        ],
        services: [{ id: 'web', name: 'web', aliases: [], vip }],
      },
    ],
    publishedPorts: [],
  });
}

describe('a container on a network of driver skep', () => {
  let host: PluginHost;
  beforeAll(async () => {
    host = await PluginHost.start();
    await host.startDataplane();
    await host.withClient((client) => client.setState(state(1)));
    await host.docker(
      'network create -d skep --ipam-driver skep --subnet 10.20.0.0/24 --gateway 10.20.0.1 -o skep.network.id=overlay1 mynet',
    );
  });
  afterAll(() => host?.close());

  const start = (name: string, address: string): Promise<string> =>
    host.docker(`run -d --name ${name} --network mynet --ip ${address} ${image} /bin/sleep 1000`);
  const inside = (name: string, command: string): Promise<string> => host.docker(`exec ${name} ${command}`);
  const endpointId = (name: string): Promise<string> =>
    host.docker(`inspect -f '{{.NetworkSettings.Networks.mynet.EndpointID}}' ${name}`);
  const ports = (): Promise<string> => host.sh(`ip netns exec skep-${vni} ip -o link`);
  const verify = (): Promise<readonly string[]> =>
    host.withClient(async (client) => (await client.verify()).differences.map(differenceLine));

  test('has eth0 with the allocated address and MAC, MTU 1450, and eth1 with the default route', async () => {
    await start('c5', '10.20.0.5');
    const eth0 = await inside('c5', 'ip addr show eth0');
    assert.match(eth0, /mtu 1450/);
    assert.match(eth0, /link\/ether 02:42:0a:14:00:05/);
    assert.match(eth0, /inet 10\.20\.0\.5\/24/);
    assert.match(await inside('c5', 'ip route'), /default via 172\.\d+\.0\.1 dev eth1/);
    assert.match(await host.sh('ip -o link show master docker_gwbridge'), /veth/);

    await host.withClient((client) =>
      client.waitProgrammed({ revision: 1, taskId: 'task5' as TaskId }, AbortSignal.timeout(10_000)),
    );
    assert.deepEqual(await verify(), []);
  });

  test('reaches its neighbour, also while and after skep-dataplane is killed', async () => {
    await start('c6', '10.20.0.6');
    await inside('c5', 'ping -c1 -W2 10.20.0.6');
    await host.stopDataplane('SIGKILL');
    await inside('c5', 'ping -c1 -W2 10.20.0.6');

    await host.startDataplane();
    await host.withClient((client) => client.waitProgrammed({ revision: 1 }, AbortSignal.timeout(10_000)));
    assert.deepEqual(await verify(), []);
    assert.equal((await host.withClient((client) => client.status())).driftRepairs, 0);
    await inside('c6', 'ping -c1 -W2 10.20.0.5');
    await eventually('names are answered again', () =>
      inside('c6', 'nslookup tasks.web. 10.20.0.2').then(
        (answer) => [5, 6, 7, 9].every((part) => answer.includes(`10.20.0.${part}`)),
        () => false,
      ),
    );
    await start('c7', '10.20.0.7');
    await inside('c7', 'ping -c1 -W2 10.20.0.5');
    await host.docker('rm -f c7');
  });

  test('cannot have an address that is not this node’s, or none', async () => {
    await assert.rejects(
      start('wrong', '10.20.0.9'),
      /address 10\.20\.0\.9 on overlay overlay1 is not assigned to this node/,
    );
    await assert.rejects(
      host.docker(`run -d --name none --network mynet ${image} /bin/sleep 1000`),
      /skep chooses no address by itself/,
    );
    await assert.rejects(
      host.docker('network create -d skep --ipam-driver skep --subnet 10.21.0.0/24 other'),
      /skep\.network\.id/,
    );
    await host.docker('rm -f wrong none');
  });

  test('an overlay whose VIP this kernel cannot balance works all the same', async () => {
    await host.stopDataplane('SIGTERM');
    await host.startDataplane('ipvs');
    await host.withClient((client) => client.setState(state(2, '10.20.0.100')));
    await start('c7', '10.20.0.7');
    await inside('c7', 'ping -c1 -W2 10.20.0.6');
    await eventually('the error says what is missing', async () =>
      /IPVS|ip_vs/i.test((await host.withClient((client) => client.status())).lastError),
    );
    await host.stopDataplane('SIGTERM');
    await host.startDataplane();
    await host.withClient((client) => client.waitProgrammed({ revision: 2 }, AbortSignal.timeout(10_000)));
    assert.equal((await host.withClient((client) => client.status())).engine, 'ebpf');
    await inside('c7', 'ping -c1 -W2 10.20.0.6');
    await host.docker('rm -f c7');
    await host.withClient((client) => client.setState(state(3)));
    await eventually('nothing of the VIP is left', async () => (await verify()).length === 0);
  });

  test('a damaged table of endpoints is read anew from the engine, and no container loses its port', async () => {
    const port = portName(await endpointId('c5'));
    await host.stopDataplane('SIGTERM');
    const path = join(host.stateDir, 'dataplane/endpoints.json');
    await writeFile(path, '{"version":1,"endp');
    await host.startDataplane();
    await eventually(
      'the table is whole',
      async () =>
        (
          JSON.parse(await readFile(path, 'utf8').then((text) => (text.endsWith('\n') ? text : '{}'))) as {
            whole?: boolean;
          }
        ).whole === true,
    );
    await host.withClient((client) => client.waitProgrammed({ revision: 3 }, AbortSignal.timeout(10_000)));
    assert.deepEqual(await verify(), []);
    assert.match(await ports(), new RegExp(port));
    await inside('c5', 'ping -c1 -W2 10.20.0.6');
  });

  test('an endpoint that the engine forgot while skep-dataplane was down loses its port', async () => {
    await host.stopDataplane('SIGTERM');
    const path = join(host.stateDir, 'dataplane/endpoints.json');
    const table = JSON.parse(await readFile(path, 'utf8')) as { endpoints: object[] };
    const forgotten = {
      ...table.endpoints[0],
      endpointId: 'f0f0f0f0f0f0',
      address: '10.20.0.7',
      mac: '02:42:0a:14:00:07',
      sandboxKey: join(host.directory, 'exec/netns/gone'),
    };
    await writeFile(path, JSON.stringify({ ...table, endpoints: [...table.endpoints, forgotten] }));
    await host.startDataplane();
    const port = portName(forgotten.endpointId);
    await eventually('its port is restored, for the engine might have it', async () =>
      (await ports()).includes(port),
    );
    await eventually(
      'its port goes once the engine has said twice that it has not',
      async () => !(await ports()).includes(port),
    );
    assert.match(await ports(), new RegExp(portName(await endpointId('c5'))));
    await eventually('kernel equals state', async () => (await verify()).length === 0);
  });

  test('`skep verify` tells equal from different', async () => {
    const skep = (args: string): Promise<{ code: number; output: string }> =>
      new Promise((done) => {
        execFile(
          join(bin, 'skep'),
          args.split(' '),
          { env: { ...process.env, SKEP_RUN_DIR: join(host.directory, 'run') } },
          (err, stdout, stderr) =>
            done({ code: typeof err?.code === 'number' ? err.code : 0, output: stdout + stderr }),
        );
      });
    assert.deepEqual(await skep('verify --quiet'), {
      code: 0,
      output: 'kernel equals state at revision 3\n',
    });
    const status = await skep('status --json');
    assert.equal((JSON.parse(status.output) as { desiredRevision: number }).desiredRevision, 3);
    const second = await host.sh(`${join(bin, 'skep-dataplane')} 2>&1 || echo code $?`);
    assert.match(second, /already runs in this network namespace[\s\S]*code 1$/);
  });

  test('starts, and is connected, although skep-dataplane is killed during the engine’s call', async () => {
    const engine = new Engine(host.engineSocket);
    const calls = async (): Promise<number> =>
      (await host.log('dataplane')).match(/"NetworkDriver.CreateEndpoint","msg":"the engine calls"/g)
        ?.length ?? 0;
    /** The call waits for an address that is not assigned yet, so that it is under way when the daemon is killed. */
    const whileKilled = async (next: NodeNetworkState, act: () => Promise<void>): Promise<void> => {
      const before = await calls();
      const acted = act();
      acted.catch(() => undefined);
      await eventually('the engine calls', async () => (await calls()) > before);
      await host.stopDataplane('SIGKILL');
      await host.startDataplane();
      await host.withClient((client) => client.setState(next));
      await acted;
    };
    await host.docker(`create --name c8 --network mynet --ip 10.20.0.8 ${image} /bin/sleep 1000`);
    await whileKilled(state(4, '', [8]), () => engine.startContainer('c8'));
    await inside('c8', 'ping -c1 -W2 10.20.0.5');

    await host.docker('network create side');
    await host.docker(`run -d --name c10 --network side ${image} /bin/sleep 1000`);
    const wanted = { IPAMConfig: { IPv4Address: '10.20.0.10' } };
    await whileKilled(state(5, '', [8, 10]), () => engine.connectNetwork('mynet', 'c10', wanted));
    await inside('c10', 'ping -c1 -W2 10.20.0.8');

    const refusals = (await host.log('dataplane')).split('\n').filter((row) => row.includes(lostRequest));
    assert.equal(refusals.length, 2, 'or the engine has lost no request');
    await host.docker('rm -f c8 c10');
    await host.docker('network rm side');
  });

  test('stopped, it leaves nothing behind', async () => {
    const port = portName(await endpointId('c5'));
    assert.match(await ports(), new RegExp(port));
    await host.docker('rm -f c5 c6');
    await eventually('its port is gone', async () => !/skp/.test(await ports()));
    assert.doesNotMatch(await host.sh('ip -o link'), /skc/);
    await host.docker('network rm mynet');
    const table = JSON.parse(
      await readFile(join(host.stateDir, 'dataplane/endpoints.json'), 'utf8'),
    ) as object;
    assert.deepEqual(
      { ...table, bootId: '' },
      { version: 1, bootId: '', whole: true, networks: [], endpoints: [] },
    );
    await host.withClient((client) => client.clearState());
    await eventually('the overlay is gone', async () => (await host.sh('ls /run/netns')) === '');
    assert.equal(await host.stopDataplane('SIGTERM'), 0);
  });
});
