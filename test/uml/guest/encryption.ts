/**
 * An encrypted overlay on two nodes of one kernel that has ESP, told as one JSON line a step: what the containers got of
 * what was sent, and what was captured on the underlay meanwhile.
 */
import assert from 'node:assert';
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { macToBytes } from '../../../src/model/addresses.js';
import { native } from '../../../src/runtime/native.js';
import { tryEsp } from '../../../src/dataplane/kernel/esp-probe.js';
import { encryptedPort } from '../../../src/model/encryption.js';
import { line } from '../../../src/dataplane/plan/objects.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import { MeshCluster } from '../../support/mesh-cluster.js';
import type { ClusterOf } from '../../unit/dataplane/plan/network-state.js';
import {
  mynetAddress,
  mynetMac,
  mynetVni,
  stateOf,
  vtepOf,
} from '../../unit/dataplane/plan/network-state.js';

const run = promisify(execFile);
/** What a kernel loads by itself where its modules are in their place. */
const modules = [
  ...['esp4', 'xfrm_user', 'gcm', 'ghash-generic', 'ctr', 'seqiv', 'aes_generic'],
  ...['drbg', 'hmac', 'sha256_generic', 'sha512_generic', 'xt_policy'],
];
const directory = process.env['SKEP_MODULES'] ?? '/tmp/modules';
/** Rotations under load, and datagrams between two of them. */
const rotations = Number(process.env['SKEP_ROTATIONS'] ?? 5);
const port = encryptedPort(4789);
/** In every datagram; must not be seen on the underlay. */
const marker = Buffer.from('what-only-containers-may-read');
const echoPort = 7000;
const tasks = [
  { part: 3, node: 1, ingress: false },
  { part: 4, node: 2, ingress: false },
];

interface Captured {
  readonly frames: number;
  readonly esp: number;
  readonly fragments: number;
  /** VXLAN of the encrypted overlay that was not in ESP. */
  readonly clear: number;
  /** Frames with the marker in them. */
  readonly marked: number;
  /** Bytes of the longest ESP packet. */
  readonly longest: number;
}

const report = (step: string, values: object): void => console.log(JSON.stringify({ step, ...values }));

/** Looks at node 1's port of the underlay while the work is done. */
async function captured<T>(cluster: MeshCluster, work: () => Promise<T>): Promise<T & { seen: Captured }> {
  const script = join(import.meta.dirname, 'capture.py');
  const command = [`--net=${cluster.path('underlay')}`, 'python3', script, 'node1', String(port)];
  const child: ChildProcess = spawn('nsenter', [...command, marker.toString('hex')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  assert(child.stdout && child.stdin);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const result = await work();
  child.stdin.end();
  const { value } = (await lines.next()) as { value: string };
  return { ...result, seen: JSON.parse(value) as Captured };
}

async function openSocket(path: string, address: string, at: number): Promise<Socket> {
  const socket = createSocket('udp4');
  const listening = once(socket, 'listening');
  socket.bind({ fd: native().bindInNetns(path, 'udp', address, at) });
  await listening;
  return socket;
}

/** Datagrams from one container to the other and back. */
class Traffic {
  readonly #answered = new Set<number>();
  #sent = 0;

  constructor(
    private readonly caller: Socket,
    echo: Socket,
  ) {
    echo.on('message', (data, from) => echo.send(data, from.port, from.address));
    caller.on('message', (data) => this.#answered.add(data.readUInt32BE(marker.length)));
  }

  /** Sends one every few ms while `work` is done, but at least `atLeast`; then waits for the last answers. */
  async during(work: () => Promise<void>, atLeast = 50): Promise<{ sent: number; answered: number }> {
    const first = this.#sent;
    let working = true;
    const done = work().finally(() => (working = false));
    done.catch(() => undefined);
    while (working || this.#sent - first < atLeast) {
      this.send(64);
      await sleep(4);
    }
    await done;
    return this.#outcome(first);
  }

  /** One datagram with so many octets after the marker and its number. */
  async once(bytes: number): Promise<{ sent: number; answered: number }> {
    const first = this.#sent;
    this.send(bytes);
    return this.#outcome(first);
  }

  send(bytes: number): void {
    const number = Buffer.alloc(4 + bytes);
    number.writeUInt32BE(this.#sent++);
    // While closed the kernel may refuse at once; that is one not answered.
    this.caller.send(Buffer.concat([marker, number]), echoPort, mynetAddress(4), () => undefined);
  }

  async #outcome(first: number): Promise<{ sent: number; answered: number }> {
    const answered = (): number => [...this.#answered].filter((number) => number >= first).length;
    const sent = this.#sent - first;
    for (let waited = 0; answered() < sent && waited < 1000; waited += 20) await sleep(20);
    return { sent, answered: answered() };
  }
}

/** VXLAN in the clear, as anybody on the underlay could send it: a datagram to container 3, as from container 4. */
function forged(): Buffer {
  const payload = Buffer.concat([marker, Buffer.from('forged')]);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(echoPort, 0);
  udp.writeUInt16BE(echoPort + 1, 2);
  udp.writeUInt16BE(8 + payload.length, 4);
  const octets = (text: string): number[] => text.split('.').map(Number);
  const ip = Buffer.from([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
  const header = Buffer.concat([ip, Buffer.from([...octets(mynetAddress(4)), ...octets(mynetAddress(3))])]);
  header.writeUInt16BE(header.length + udp.length + payload.length, 2);
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  const vxlan = Buffer.alloc(8);
  vxlan.writeUInt8(0x08, 0);
  vxlan.writeUInt32BE(mynetVni * 256, 4);
  const ethernet = [macToBytes(mynetMac(3)), macToBytes(mynetMac(4)), Buffer.from([8, 0])];
  return Buffer.concat([vxlan, ...ethernet, header, udp, payload]);
}

async function main(): Promise<void> {
  await run('modprobe', ['-d', directory, '-a', ...modules]);
  await tryEsp();
  await using cluster = await MeshCluster.create({
    name: 'enc',
    nodes: [1, 2],
    containers: tasks,
    outsiders: { stranger: 100 },
    bare: true,
  });
  let revision = 0;
  const epochs: Record<number, number> = {};
  const state = (node: number, over: Partial<ClusterOf>): NodeNetworkState =>
    stateOf(node, { revision, tasks, vips: {}, epochs, ...over });
  const program = async (over: Partial<ClusterOf>): Promise<void> => {
    revision += 1;
    await cluster.program((node) => state(node, over));
  };
  const espLines = async (node: number): Promise<string[]> =>
    (await cluster.kernel(node).observe({ kind: 'esp' }, [], false, [])).objects.map(line).sort();
  /** What peers are told of a node's epoch; the managers do that. */
  const learnEpochs = async (): Promise<void> => {
    for (const node of [1, 2]) epochs[node] = cluster.reconciler(node).espEpoch;
  };

  const ofStranger = ['10.9.9.1/32', '10.9.9.2/32'] as const;
  const policy = `xfrm policy add src ${ofStranger[0]} dst ${ofStranger[1]} dir out action block priority 7`;
  await cluster.run('node1', 'ip', ...policy.split(' '));
  const others = async (): Promise<string> => cluster.run('node1', 'ip', 'xfrm', 'policy');
  const before = await others();

  await learnEpochs();
  await program({ keys: [] });
  await cluster.startContainers();
  const traffic = new Traffic(
    await openSocket(cluster.path('c3'), mynetAddress(3), echoPort),
    await openSocket(cluster.path('c4'), mynetAddress(4), echoPort),
  );
  const idle = async (): Promise<void> => undefined;
  report('withheld', await captured(cluster, () => traffic.during(idle)));

  await program({ keys: [1, 2], sends: 1 });
  report('steady', await captured(cluster, () => traffic.during(idle, 200)));
  const mtu = Number(/mtu (\d+)/.exec(await cluster.run('c3', 'ip', 'link', 'show', 'eth0'))?.[1]);
  const whole = mtu - 28 - marker.length - 4;
  report('largest', { mtu, ...(await captured(cluster, () => traffic.once(whole))) });

  const rotate = async (): Promise<void> => {
    for (let sends = 2; sends < 2 + rotations; sends++) {
      await program({ keys: [sends - 1, sends, sends + 1], sends });
      await sleep(100);
    }
  };
  report('rotations', { rotations, ...(await captured(cluster, () => traffic.during(rotate))) });
  const keys = { keys: [rotations, rotations + 1, rotations + 2], sends: rotations + 1 };

  const held = await espLines(1);
  const restarted = async (): Promise<void> => {
    revision += 1;
    await cluster.program((node) => ({ ...state(node, keys), encryptionKeys: null }));
    await cluster.restart(1);
  };
  const restart = await captured(cluster, () => traffic.during(restarted));
  report('restart', { ...restart, same: (await espLines(1)).join() === held.join() });

  await program(keys);
  /** What leaves between a stranger's deed and the repair, and then. */
  const opened = async (what: string, command: string): Promise<void> => {
    await cluster.run('node1', ...command.split(' '));
    report(what, await captured(cluster, () => traffic.during(idle)));
    await cluster.reconciler(1).repair();
    report(`${what}, repaired`, await captured(cluster, () => traffic.during(idle)));
  };
  await opened('no policies', 'ip xfrm policy flush');
  await opened('no rules', 'iptables -t mangle -F');
  // His own went with ours.
  await cluster.run('node1', 'ip', ...policy.split(' '));

  await cluster.run('node1', 'ip', 'xfrm', 'state', 'flush');
  report('no states', await captured(cluster, () => traffic.during(idle)));
  const drift = (await cluster.verify()).length;
  const repaired = await captured(cluster, async () => {
    await cluster.pass(1);
    return traffic.during(idle);
  });
  const epochBefore = epochs[1] ?? 0;
  report('flushed states', { ...repaired, drift, epochs: cluster.reconciler(1).espEpoch - epochBefore });
  await learnEpochs();
  await program(keys);
  report('told of the epoch', await captured(cluster, () => traffic.during(idle)));

  const received: string[] = [];
  const target = await openSocket(cluster.path('c3'), mynetAddress(3), echoPort + 1);
  target.on('message', (data) => received.push(data.toString()));
  const stranger = await openSocket(cluster.path('stranger'), vtepOf(100), 4790);
  const forge = async (): Promise<number> => {
    const had = received.length;
    for (let times = 0; times < 3; times++) stranger.send(forged(), port, vtepOf(1));
    await sleep(300);
    return received.length - had;
  };
  report('forged', { got: await forge() });
  // The same packets do arrive where nobody requires ESP: it is the policy that drops them, and the rule.
  await cluster.run('node1', 'ip', 'xfrm', 'policy', 'deleteall', 'dir', 'in');
  report('forged, one lock open', { got: await forge() });
  await cluster.run('node1', 'iptables', '-t', 'mangle', '-F');
  report('forged, unguarded', { got: await forge() });
  await cluster.reconciler(1).repair();
  report('forged, repaired', { got: await forge(), ...(await traffic.during(idle)) });

  await program({ keys: [] });
  report('withheld again', await captured(cluster, () => traffic.during(idle)));
  await program(keys);
  report('given again', await captured(cluster, () => traffic.during(idle)));
  report('verify', { differences: await cluster.verify() });

  await cluster.program(() => null);
  report('left', { ours: await espLines(1), strangers: (await others()) === before });
}

await main();
process.exit(0);
