/** The protection of encrypted overlays: a table of what is planned, convergence, and what a rotation and a loss change. */
import { describe, expect, test } from 'vitest';
import { SecretBytes } from '../../../../src/model/secret-bytes.js';
import type { Ip } from '../../../../src/model/addresses.js';
import type { Op } from '../../../../src/dataplane/plan/diff.js';
import { applyToImage, opLine } from '../../../../src/dataplane/plan/diff.js';
import type { EspSender } from '../../../../src/dataplane/plan/esp.js';
import { espInputs, espMtuBytes, planEsp, sentMax } from '../../../../src/dataplane/plan/esp.js';
import { espKeys } from '../../../../src/dataplane/plan/esp-keys.js';
import { ownsInHost } from '../../../../src/dataplane/plan/ingress.js';
import { espScopePlan, planOps } from '../../../../src/dataplane/plan/node.js';
import type { EspPolicy, EspState, KernelObject } from '../../../../src/dataplane/plan/objects.js';
import type { ClusterOf } from './network-state.js';
import { stateOf, vtepOf } from './network-state.js';

const nobody: EspSender = { epoch: 5, made: [] };

/** One node's kernel and what it remembers of it. */
class Node {
  image: KernelObject[] = [];
  sender = nobody;

  constructor(readonly self: number) {}

  pass(cluster: ClusterOf | null, retrying = false): Op[] {
    return this.#pass(cluster && stateOf(this.self, cluster), retrying);
  }

  /** As after a restart: the state is there, its keys are not. */
  passWithoutKeys(cluster: ClusterOf): Op[] {
    return this.#pass({ ...stateOf(this.self, cluster), encryptionKeys: null }, false);
  }

  #pass(state: ReturnType<typeof stateOf> | null, retrying: boolean): Op[] {
    const { objects, sender } = planEsp(state, this.sender, this.image, retrying);
    const ops = planOps(espScopePlan(objects), this.image);
    this.sender = sender;
    this.image = applyToImage(this.image, ops);
    return ops;
  }

  get states(): EspState[] {
    return this.image.filter((object) => object.kind === 'espState');
  }

  /** What leaves by the present policy: the state that it asks for, null when nothing may. */
  sending(to: number): EspState | null {
    const out = this.image.find(
      (object): object is EspPolicy => object.kind === 'espPolicy' && object.direction === 'out',
    );
    if (out?.action.kind !== 'protect') return null;
    const { reqid } = out.action;
    return this.states.find((state) => state.reqid === reqid && state.destination === vtepOf(to)) ?? null;
  }

  /** Whether what another node sends can be read here: by the same SPI and the same key. */
  hears(other: Node): boolean {
    const sent = other.sending(this.self);
    const key = (state: EspState | undefined): string | undefined =>
      state?.keyAndSalt?.reveal().toString('hex');
    return (
      sent !== null &&
      key(sent) === key(this.states.find((state) => state.spi === sent.spi && state.source === sent.source))
    );
  }
}

const both = (epochs: Record<number, number>, over: Partial<ClusterOf> = {}): ClusterOf => ({
  epochs,
  keys: [1, 2],
  sends: 1,
  ...over,
});

/** The rules beside the policies, made before them. */
const guard = [
  '+ chain mangle SKEP-ESP-OUT [-p udp -m udp --dport 4790 -m policy --dir out --pol none -j DROP]',
  '+ chain mangle SKEP-ESP-IN [-p udp -m udp --dport 4790 -m policy --dir in --pol none -j DROP]',
  '+ jump mangle OUTPUT SKEP-ESP-OUT first',
  '+ jump mangle INPUT SKEP-ESP-IN first',
];

describe('planEsp', () => {
  test('plans nothing where nothing is encrypted, and takes all away again', () => {
    const node = new Node(1);
    expect(node.pass({})).toEqual([]);
    node.pass(both({}));
    expect(node.image).not.toEqual([]);
    node.pass({});
    expect(node.image).toEqual([]);
  });

  test('what shuts is made before any key, and what sends after it', () => {
    const all = new Node(1).pass(both({ 2: 9 })).map(opLine);
    expect(all.slice(0, guard.length)).toEqual(guard);
    const lines = all.slice(guard.length);
    expect(lines[0]).toBe(
      '+ esp-policy in from any to 192.168.50.1 udp 4790 protect reqid 0x5e800000 priority 94',
    );
    expect(lines.at(-1)).toBe(
      '+ esp-policy out from 192.168.50.1 to any udp 4790 protect reqid 0x5e001005 priority 94',
    );
    // Two keys, two epochs of the peer, and two states to send with.
    expect(lines.filter((text) => text.startsWith('+ esp-state'))).toHaveLength(6);
  });

  const closed: [name: string, cluster: ClusterOf, states: number][] = [
    ['keys withheld', both({ 2: 9 }, { keys: [] }), 0],
    ['no key to send with', { epochs: { 2: 9 }, keys: [1, 2] }, 4],
  ];
  for (const [name, cluster, states] of closed)
    test(`closed: ${name}`, () => {
      const node = new Node(1);
      node.pass(both({ 2: 9 }));
      node.pass(cluster);
      expect([node.sending(2), node.states.length]).toEqual([null, states]);
      expect(node.image.filter(({ kind }) => kind === 'espPolicy')).toHaveLength(2);
    });

  test('a peer whose epoch is not known is sent to and not heard', () => {
    const node = new Node(1);
    node.pass(both({ 2: 0 }));
    expect(node.states.map(({ source }) => source)).toEqual([vtepOf(1), vtepOf(1)]);
  });

  test('what one lock has lost is put back without touching the other, and the rules go last', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9 }));
    const isRule = ({ kind }: KernelObject): boolean => kind === 'chain' || kind === 'jump';
    const whole = node.image;
    node.image = whole.filter((object) => !isRule(object));
    expect(node.pass(both({ 2: 9 })).map(opLine)).toEqual(guard);
    node.image = whole.filter(({ kind }) => kind !== 'espPolicy');
    expect(node.pass(both({ 2: 9 })).map(({ object }) => object.kind)).toEqual(['espPolicy', 'espPolicy']);
    const removed = node.pass({}).map(({ object }) => isRule(object));
    expect(removed.indexOf(true)).toBe(removed.length - guard.length);
    // The host's scope has none of them: it would take them for its own leftovers.
    expect(whole.filter(isRule).some(ownsInHost)).toBe(false);
  });

  test('converges in one pass, whatever came before', () => {
    const node = new Node(1);
    const clusters: (ClusterOf | null)[] = [
      both({ 2: 9 }),
      both({ 2: 9 }, { keys: [1, 2, 3], sends: 2 }),
      both({ 2: 10 }, { keys: [2, 3, 4], sends: 3, nodes: [1, 2, 3] }),
      both({ 2: 10 }, { keys: [] }),
      both({ 2: 10 }, { keys: [3, 4], sends: 3, nodes: [1, 3] }),
      {},
      both({ 2: 9 }, { keys: [7, 8], sends: 7 }),
      null,
    ];
    for (const cluster of clusters) {
      node.pass(cluster);
      const { sender } = node;
      expect(node.pass(cluster).map(opLine)).toEqual([]);
      expect(node.sender).toBe(sender);
    }
    expect(node.image).toEqual([]);
  });

  test('a rotation reaches nodes in any order and each is heard all the time', () => {
    const [one, two] = [new Node(1), new Node(2)];
    const heard = (): void => expect([one.hears(two), two.hears(one)]).toEqual([true, true]);
    const steps = [1, 2, 3, 4, 5, 6].map((sends) =>
      both({ 1: 5, 2: 5 }, { keys: sends === 1 ? [1, 2] : [sends - 1, sends, sends + 1], sends }),
    );
    for (const [index, cluster] of steps.entries()) {
      const order = index % 2 === 0 ? [one, two] : [two, one];
      for (const node of order) {
        node.pass(cluster);
        if (index > 0) heard();
      }
    }
    heard();
    // No state that sends outlives its key.
    expect(one.sender.made.map(({ sequence }) => sequence)).toEqual([6, 7]);
  });

  test('a rotation makes what is next, changes one policy, and then takes away what is old', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9 }, { keys: [1, 2, 3], sends: 2 }));
    const kinds = node
      .pass(both({ 2: 9 }, { keys: [2, 3, 4], sends: 3 }))
      .map(({ op, object }) => `${op} ${object.kind}`);
    expect([...new Set(kinds)]).toEqual(['add espState', 'change espPolicy', 'delete espState']);
  });

  test('states that were lost are made with other keys, which peers hear already', () => {
    const [one, two] = [new Node(1), new Node(2)];
    const cluster = both({ 1: 5, 2: 5 });
    one.pass(cluster);
    two.pass(cluster);
    const before = one.states.map(({ spi }) => spi);
    one.image = one.image.filter(({ kind }) => kind === 'espPolicy');
    one.pass(cluster);
    expect(one.sender.epoch).toBe(6);
    expect(two.hears(one)).toBe(true);
    const sends = one.states.filter(({ source }) => source === vtepOf(1));
    expect(sends.filter(({ spi }) => before.includes(spi))).toEqual([]);
    // Only what receives came back as it was: a second look finds all in order.
    expect(one.pass(cluster)).toEqual([]);
  });

  test('what a failed try may not have made is no loss', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9 }));
    node.image = [];
    node.pass(both({ 2: 9 }), true);
    expect(node.sender.epoch).toBe(5);
  });

  test('numbers that may run out begin a new epoch', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9 }));
    node.image = node.image.map((object) =>
      object.kind === 'espState' && object.source === vtepOf(1) ? { ...object, sent: sentMax - 1 } : object,
    );
    expect(node.pass(both({ 2: 9 }))).toEqual([]);
    node.image = node.image.map((object) =>
      object.kind === 'espState' && object.source === vtepOf(1) ? { ...object, sent: sentMax } : object,
    );
    node.pass(both({ 2: 9 }));
    expect(node.sender.epoch).toBe(6);
    expect(node.sending(2)).not.toBeNull();
  });

  test('a peer that leaves and returns costs no epoch', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9, 3: 9 }, { nodes: [1, 2, 3] }));
    node.pass(both({ 2: 9 }, { nodes: [1, 2] }));
    node.pass(both({ 2: 9, 3: 9 }, { nodes: [1, 2, 3] }));
    expect(node.sender.epoch).toBe(5);
  });

  test('without keys at hand what the kernel holds stands; with nothing there it is closed', () => {
    const node = new Node(1);
    node.pass(both({ 2: 9 }));
    expect(node.passWithoutKeys(both({ 2: 9 }))).toEqual([]);
    expect(node.sending(2)).not.toBeNull();
    const booted = new Node(1);
    expect(booted.passWithoutKeys(both({ 2: 9 })).map(opLine)).toEqual([
      ...guard,
      '+ esp-policy in from any to 192.168.50.1 udp 4790 protect reqid 0x5e800000 priority 94',
      '+ esp-policy out from 192.168.50.1 to any udp 4790 block priority 94',
    ]);
  });

  test('no text tells of a key', () => {
    const node = new Node(1);
    const cluster = both({ 2: 9 });
    const ops = node.pass(cluster);
    const { encryptionKeys } = stateOf(1, cluster);
    const texts = [
      ops.map(opLine).join(),
      JSON.stringify(ops),
      espInputs(stateOf(1, cluster)),
      JSON.stringify(encryptionKeys),
    ];
    const secrets = [
      ...(encryptionKeys ?? []).map(({ key }) => key.reveal()),
      ...node.states.flatMap(({ keyAndSalt }) => (keyAndSalt ? [keyAndSalt.reveal()] : [])),
    ];
    expect(secrets.length).toBeGreaterThan(4);
    for (const secret of secrets)
      for (const text of texts)
        for (const form of ['hex', 'base64', 'latin1'] as const)
          expect(text).not.toContain(secret.toString(form));
  });
});

test('espMtuBytes: the largest packet whose ESP packet is no larger than the underlay’s MTU', () => {
  // Outer IP 20, then ESP around UDP 8, VXLAN 8, Ethernet 14 and the packet.
  const espBytes = (mtu: number): number => 20 + 8 + 8 + Math.ceil((8 + 8 + 14 + mtu + 2) / 4) * 4 + 16;
  for (let underlay = 1280; underlay < 1300; underlay++) {
    const mtu = espMtuBytes(underlay - 50);
    expect(espBytes(mtu)).toBeLessThanOrEqual(underlay);
    expect(espBytes(mtu + 1)).toBeGreaterThan(underlay);
  }
  expect([espMtuBytes(1450), espMtuBytes(8950)]).toEqual([1416, 8916]);
});

test('espKeys: another key for each direction, epoch and key of the cluster', () => {
  const keys = [new SecretBytes(Buffer.alloc(32, 1)), new SecretBytes(Buffer.alloc(32, 2))];
  const [a, b] = ['192.0.2.1', '192.0.2.2'] as Ip[] as [Ip, Ip];
  const all = keys.flatMap((key) => [
    espKeys(key, a, b, 1),
    espKeys(key, b, a, 1),
    espKeys(key, a, b, 2),
    espKeys(key, b, a, 2),
  ]);
  expect(new Set(all.map(({ spi }) => spi)).size).toBe(8);
  expect(new Set(all.map(({ keyAndSalt }) => keyAndSalt.reveal().toString('hex'))).size).toBe(8);
  expect(all.every(({ spi, keyAndSalt }) => spi >= 256 && keyAndSalt.reveal().length === 20)).toBe(true);
  // HKDF-SHA-256 as RFC 5869 has it, reckoned by another program: both ends of a cluster must agree for ever.
  expect(espKeys(keys[0] as SecretBytes, a, b, 1).spi).toBe(0xf66b4801);
});
