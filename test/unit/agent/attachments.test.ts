/** Attachments and containers made equal: the plan as a table, and the agent's half with an engine and managers that the test plays. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  NetworkAttachments,
  disconnectUsersContainers,
} from '../../../src/controlplane/agent/attachments.js';
import type { AttachmentCalls } from '../../../src/controlplane/agent/attachments.js';
import {
  nameserversAsked,
  parseNameservers,
  planAttachments,
} from '../../../src/controlplane/agent/attachment-plan.js';
import type { ConnectedLeg, KnownAttachment } from '../../../src/controlplane/agent/attachment-plan.js';
import type { ConnectedContainer, ContainerView } from '../../../src/controlplane/dockerd/client.js';
import type { AssignmentItems } from '../../../src/controlplane/rpc/assignment.js';
import type { AttachNetworkRequest } from '../../../src/controlplane/rpc/messages.js';
import { SkepError } from '../../../src/model/errors.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { attachment, seededBytes } from '../../support/cluster-objects.js';

const known = (id: string, address: string, over: Partial<KnownAttachment> = {}): KnownAttachment => ({
  ...{ id, networkId: 'net', address, containerId: 'c1', containerName: 'box', aliases: [], nameservers: [] },
  ...over,
});
const leg = (address: string, over: Partial<ConnectedLeg> = {}): ConnectedLeg => ({
  ...{ containerId: 'c1', containerName: 'box', networkId: 'net', address, nameservers: [] },
  ...over,
});

test.each<[string, KnownAttachment[], ConnectedLeg[], string[], string[]]>([
  ['nothing to do', [known('a', '.5')], [leg('.5')], [], []],
  ['the container is gone', [known('a', '.5')], [], [], ['detach a']],
  ['it is being made', [known('a', '.5')], [], ['a'], []],
  ['it was made', [known('a', '.5', { containerId: '' })], [leg('.5')], ['a'], ['describe a c1 box']],
  ['it was renamed', [known('a', '.5')], [leg('.5', { containerName: 'jar' })], [], ['describe a c1 jar']],
  [
    'it resolves by other servers',
    [known('a', '.5')],
    [leg('.5', { nameservers: ['9.9.9.9'] })],
    [],
    ['describe a c1 box'],
  ],
  ['it lost its attachment', [], [leg('.5')], [], ['attach c1 .5']],
  [
    'it has another address: what it had is given back first',
    [known('a', '.5')],
    [leg('.6')],
    [],
    ['detach a', 'attach c1 .6'],
  ],
  [
    'one address, two networks',
    [known('a', '.5')],
    [leg('.5', { networkId: 'other' })],
    [],
    ['detach a', 'attach c1 .5'],
  ],
  [
    'two containers that were given one address: the one it is known to be',
    [known('a', '.5', { containerId: 'c2' })],
    [leg('.5'), leg('.5', { containerId: 'c2' })],
    [],
    ['attach c1 .5'],
  ],
])('%s', (_, attachments, legs, reserved, steps) => {
  const shown = planAttachments(attachments, legs, new Set(reserved)).map((step) =>
    step.step === 'detach'
      ? `detach ${step.id}`
      : step.step === 'attach'
        ? `attach ${step.leg.containerId} ${step.leg.address}`
        : `describe ${step.known.id} ${step.leg.containerId} ${step.leg.containerName}`,
  );
  expect(shown).toEqual(steps);
});

test.each<[string, string[], string[], string[]]>([
  ['made with the host’s', [], ['1.1.1.1', '127.0.0.1'], ['1.1.1.1']],
  ['made with its own', ['9.9.9.9', '9.9.9.9'], ['1.1.1.1'], ['9.9.9.9']],
  ['made with our DNS, of an overlay that it may have left', ['10.0.3.2'], [], ['10.0.3.2']],
  ['the host asks itself: the engine’s fallback', [], ['127.0.0.53'], ['8.8.8.8', '8.8.4.4']],
  ['IPv6 and what is none', ['2001:db8::1', 'x'], [], []],
])('nameservers that the engine asks for a container: %s', (_, given, host, expected) => {
  expect(nameserversAsked(given, host)).toEqual(expected);
});

test('nameservers of a resolv.conf', () => {
  expect(parseNameservers('# x\nnameserver 1.1.1.1\nsearch a\nnameserver\t::1 # y\n')).toEqual([
    '1.1.1.1',
    '::1',
  ]);
});

const log = createLog('test');
log.level = 'silent';
const containerId = (digit: number): string => String(digit).repeat(64);
const soon = { timeout: 3_000, interval: 5 };

const engineNetwork = {
  id: 'engine-net',
  name: 'open',
  driver: 'skep',
  labels: { 'skep.network.id': 'net' },
};

/** The agent's half in a world of one overlay, one engine and one manager. */
class Node {
  readonly asked: string[] = [];
  readonly released: string[] = [];
  readonly nameservers: string[] = [];
  containers: ConnectedContainer[] = [];
  engineAnswers = true;
  refusal: SkepError | undefined;
  dns: readonly string[] = ['10.5.0.2'];
  overlays = new Map([
    ['net', { id: 'net', name: 'open', ownAddress: '10.5.0.2' } as AssignmentItems['overlay']],
  ]);
  #next = 10;
  wakeAll: () => void = () => undefined;
  readonly #stop = new AbortController();
  readonly attachments = new NetworkAttachments({
    engine: {
      connectedContainers: async () => {
        if (!this.engineAnswers) throw new Error('the engine is away');
        return [...this.containers];
      },
      container: async (id) =>
        ({
          dns: this.dns,
          driverOptions: new Map([['open', { 'skep.aliases': 'db,sql' }]]),
          id,
        }) as unknown as ContainerView,
      listNetworks: async () => [engineNetwork],
    },
    events: {
      watchAll: (wake) => {
        this.wakeAll = wake;
        return { [Symbol.dispose]: () => undefined };
      },
    },
    network: {
      overlays: async () => this.overlays,
      knownOverlays: () => this.overlays,
      requireEsp: () => undefined,
    },
    localNetworks: {
      hold: () => undefined,
      release: async (id) => void this.released.push(id),
      ensure: async () => 'engine-net',
    },
    hostNameservers: async () => ['1.1.1.1'],
    clock: systemClock,
    random: seededBytes(7),
    log,
  });
  readonly calls: AttachmentCalls = {
    attachNetwork: async ({
      attachmentId,
      containerId: id,
      containerName,
      aliases,
      address,
      nameservers,
    }) => {
      this.nameservers.push(nameservers.join());
      this.asked.push(`attach ${id.slice(0, 1)}/${containerName} ${aliases.join()} ${address}`.trim());
      if (this.refusal) throw this.refusal;
      return {
        attachmentId,
        networkId: 'net',
        networkName: 'open',
        address: address || `10.5.0.${this.#next++}`,
        revision: 100,
      };
    },
    detachNetworks: async (ids) => void this.asked.push(`detach ${ids.length}`),
  };

  /** Opens a session; resolves when it is over. */
  session(calls = this.calls): void {
    void this.attachments.run(calls, this.#stop.signal);
  }
  end(): void {
    this.#stop.abort(new Error('test over'));
  }
  container(digit: number, address: string, name = 'box'): ConnectedContainer {
    return { id: containerId(digit), name, labels: {}, networks: [{ name: 'open', address }] };
  }
  attach(over: Partial<AttachNetworkRequest> = {}, signal = new AbortController().signal) {
    return this.attachments.attach(
      { ...{ network: 'open', containerId: '', containerName: 'box', aliases: [], address: '' }, ...over },
      signal,
    );
  }
}

let node: Node;
beforeEach(() => {
  node = new Node();
});
afterEach(() => node.end());

describe('the agent', () => {
  test('takes a place, waits for the container, and gives it back when that is gone', async () => {
    node.session();
    node.attachments.set([], 1);
    const place = await node.attach({ aliases: ['db'] });
    expect(place).toMatchObject({
      address: '10.5.0.10',
      ownAddress: '10.5.0.2',
      engineNetworkId: 'engine-net',
    });
    await node.attachments.settle();
    // Reserved: no container yet, and nobody wonders.
    expect(node.asked).toEqual(['attach /box db']);
    node.containers = [node.container(1, place.address)];
    await node.attachments.settle([place.attachmentId]);
    expect(node.asked.slice(1)).toEqual(['attach 1/box db 10.5.0.10']);
    await node.attachments.settle();
    expect(node.asked).toHaveLength(2);
    node.containers = [];
    await node.attachments.settle();
    expect(node.asked.slice(2)).toEqual(['detach 1']);
    node.attachments.set([], 101);
    expect(node.released).toEqual([place.attachmentId]);
  });

  test('an engine that refused the container: the place is given back at once', async () => {
    node.session();
    node.attachments.set([], 1);
    const place = await node.attach();
    await node.attachments.settle([place.attachmentId]);
    expect(node.asked).toEqual(['attach /box', 'detach 1']);
  });

  test('an engine that is away is not one without containers', async () => {
    node.engineAnswers = false;
    node.session();
    node.attachments.set([attachment('a1', 'n1', { networkId: 'net', address: '10.5.0.9' })], 5);
    await systemClock.sleep(150);
    expect(node.asked).toEqual([]);
    node.engineAnswers = true;
    await expect.poll(() => node.asked, soon).toEqual(['detach 1']);
  });

  test('nothing is concluded before the session’s first whole set', async () => {
    node.containers = [node.container(1, '10.5.0.9')];
    node.session();
    node.wakeAll();
    await systemClock.sleep(60);
    expect(node.asked).toEqual([]);
    const held = attachment(
      'a1',
      'n1',
      { networkId: 'net', address: '10.5.0.9' },
      { containerId: containerId(1), containerName: 'box' },
    );
    node.attachments.set([held], 5);
    await node.attachments.settle();
    expect(node.asked).toEqual([]);
  });

  test('a container that lost its attachment gets it again, aliases included; tasks’ containers are no business of it', async () => {
    const task = { ...node.container(2, '10.5.0.8', 'web.1'), labels: { 'com.docker.swarm.task.id': 't' } };
    node.containers = [node.container(1, '10.5.0.9'), task];
    node.session();
    node.attachments.set([], 1);
    await expect.poll(() => node.asked, soon).toEqual(['attach 1/box db,sql 10.5.0.9']);
  });

  test('a place that cannot be had again is said once and does not keep others from theirs', async () => {
    node.containers = [node.container(1, '10.5.0.9'), node.container(2, '10.5.0.8', 'jar')];
    node.refusal = new SkepError('permissionDenied', 'Address already in use');
    node.session();
    node.attachments.set([], 1);
    await expect.poll(() => node.asked.length, soon).toBe(2);
    expect(node.asked.map((what) => what.split(' ')[1])).toEqual(['1/box', '2/jar']);
  });

  test('waits for a session, and asks again what may pass', async () => {
    const placed = node.attach();
    let failures = 0;
    node.session({
      ...node.calls,
      attachNetwork: async (request) => {
        if (failures++ < 2) throw new SkepError('unavailable', 'network open has no subnet yet');
        return node.calls.attachNetwork(request);
      },
    });
    expect(await placed).toMatchObject({ address: '10.5.0.10' });
    expect(failures).toBe(3);
  });

  test('a refusal is final, and a caller that went away is forgotten', async () => {
    node.session();
    node.refusal = new SkepError('permissionDenied', 'network open not manually attachable');
    await expect(node.attach()).rejects.toMatchObject({ kind: 'permissionDenied' });
    node.refusal = new SkepError('unavailable', 'no');
    const gone = new AbortController();
    const waiting = node.attach({}, gone.signal);
    gone.abort(new Error('client gone'));
    await expect(waiting).rejects.toThrow();
    expect(node.asked.filter((what) => what.startsWith('attach')).length).toBeLessThan(5);
  });

  test('what is on a network of the engine’s own, too, asks by way of the engine', async () => {
    const networks = [
      { name: 'open', address: '10.5.0.9' },
      { name: 'bridge', address: '' },
    ];
    node.dns = [];
    node.containers = [{ ...node.container(1, ''), networks }];
    node.session();
    node.attachments.set([], 1);
    await expect.poll(() => node.nameservers, soon).toEqual(['']);
    node.containers = [
      { ...node.container(1, ''), networks: [...networks, { name: 'mine', address: '172.20.0.2' }] },
    ];
    await node.attachments.settle();
    expect(node.nameservers).toEqual(['', '1.1.1.1']);
  });

  test('leaving: users’ containers leave the swarm’s networks', async () => {
    const task = { ...node.container(2, '10.5.0.8'), labels: { 'com.docker.swarm.task.id': 't' } };
    const elsewhere = { ...node.container(3, ''), networks: [{ name: 'bridge', address: '' }] };
    node.containers = [node.container(1, '10.5.0.9'), task, elsewhere];
    const disconnected: string[] = [];
    await disconnectUsersContainers({
      engine: {
        connectedContainers: async () => [...node.containers],
        listNetworks: async () => [engineNetwork],
        disconnectNetwork: async (network, id) => void disconnected.push(`${network} ${id.slice(0, 1)}`),
      },
      log,
    });
    expect(disconnected).toEqual(['engine-net 1']);
  });
});
