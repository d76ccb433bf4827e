import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { InitRequest, JoinRequest } from '../../../src/controlplane/api/swarm-control.js';
import type { Backup } from '../../../src/controlplane/backup/backup-content.js';
import { clusterSpecDefaults } from '../../../src/controlplane/node/initial-cluster.js';
import type { MembershipFile } from '../../../src/controlplane/node/membership-file.js';
import type {
  NodeParts,
  RunningAgent,
  RunningManager,
  Told,
} from '../../../src/controlplane/node/node-parts.js';
import { SwarmNode } from '../../../src/controlplane/node/swarm-node.js';
import { OutsideError, SkepError } from '../../../src/model/errors.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { Clock } from '../../../src/runtime/clock.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { initRequest } from './init-request.js';

const log = pino({ level: 'silent' });
const joinRequest: JoinRequest = {
  listenAddr: '0.0.0.0:2377',
  advertiseAddr: '192.0.2.2',
  dataPathAddr: '',
  remoteAddrs: ['192.0.2.1'],
  joinToken: 'token',
  availability: 'active',
};
const member = (role: 'manager' | 'worker'): MembershipFile => ({
  clusterId: 'c'.repeat(25) as ClusterId,
  nodeId: 'n'.repeat(25) as NodeId,
  role,
  addresses: {
    listenHost: '0.0.0.0',
    listenPort: 2377,
    advertiseHost: '192.0.2.1' as never,
    advertisePort: 2377,
    dataPathHost: '192.0.2.1' as never,
  },
  managers: [{ nodeId: 'n'.repeat(25), addr: '192.0.2.1:2377' }],
});

const quietManager: RunningManager = {
  store: {} as Store,
  leaderlessMs: () => 0,
  storeState: () => undefined,
  error: () => '',
  lost: new Promise<Error>(() => undefined),
  close: async () => undefined,
};

/** As a daemon that starts. */
async function comeBack(node: SwarmNode, signal = new AbortController().signal): Promise<void> {
  await node.load();
  await node.restore(signal);
}

/** A host that remembers what was done to it, in order. */
function host(over: Partial<NodeParts> = {}) {
  const done: string[] = [];
  const told: ((word: Told) => void)[] = [];
  let certified: NodeRole = 'worker';
  let disk: MembershipFile | undefined;
  const agent = (): RunningAgent => ({
    ready: Promise.resolve(),
    managers: () => [],
    attachments: {
      attach: () => Promise.reject(new Error('not asked')),
      lacks: () => false,
      settle: async () => undefined,
    },
    renew: async () => {
      done.push('certificate');
      return certified;
    },
    close: async () => void done.push('close agent'),
  });
  const manager = (): RunningManager => ({
    ...quietManager,
    store: { view: () => ({ list: () => [] }) } as unknown as Store,
    close: async () => void done.push('close manager'),
  });
  const parts: NodeParts = {
    interfaces: () => [{ name: 'eth0', address: '192.0.2.1', internal: false }],
    addressTowards: async () => undefined,
    routes: async () => [{ destination: '192.0.2.0/24' as never, device: 'eth0' }],
    describe: () => Promise.reject(new Error('not asked')),
    openKeys: async () => true,
    unlock: () => expect.fail('not locked'),
    removeTasks: async () => void done.push('remove containers'),
    readMembership: async () => disk,
    writeMembership: async (membership) => {
      disk = membership;
      done.push('write membership');
    },
    foundCluster: async () => {
      done.push('found');
      return { membership: member('manager'), manager: manager() };
    },
    restoreCluster: async (_backup, _addresses, former) => {
      done.push(former ? 'restore in place' : 'restore');
      return { membership: member('manager'), manager: manager() };
    },
    obtainCertificate: async () => {
      done.push('certificate');
      return member('worker');
    },
    startManager: async () => {
      done.push('start manager');
      return manager();
    },
    removeManager: async () => void done.push('remove manager'),
    startAgent: async (_membership, onTold) => {
      done.push('start agent');
      told.push(onTold);
      return agent();
    },
    wipe: async () => {
      disk = undefined;
      done.push('wipe');
    },
    ...over,
  };
  const node = (clock: Clock = systemClock): SwarmNode => new SwarmNode({ parts, clock, log });
  /** A manager's word, after which the authority certifies the role that it names. */
  const tell = (role: NodeRole): void => {
    certified = role;
    for (const onTold of told) onTold({ role, managers: [{ nodeId: 'm', addr: '192.0.2.9:2377' }] });
  };
  return { done, node, agent, disk: () => disk, tell };
}
const state = (node: SwarmNode): string => {
  const { localNodeState, nodeId, remoteManagers } = node.membership();
  return `${localNodeState} ${nodeId === '' ? 'nobody' : 'member'} ${remoteManagers === null ? 'alone' : 'managed'}`;
};

describe('SwarmNode', () => {
  test('init, a second init, leave', async () => {
    const { node: make, done, disk } = host();
    const node = make();
    expect(state(node)).toBe('inactive nobody alone');
    await node.init(initRequest);
    expect(state(node)).toBe('active member managed');
    expect(node.membership().store).toBeDefined();
    await expect(node.init(initRequest)).rejects.toThrow('already part of a swarm');
    await expect(node.leave(false)).rejects.toThrow('Removing the last manager erases all current state');
    await node.leave(true);
    expect(state(node)).toBe('inactive nobody alone');
    expect(disk()).toBeUndefined();
    expect(done).toEqual([
      'found',
      'write membership',
      'start agent',
      'close agent',
      'close manager',
      'remove containers',
      'wipe',
    ]);
  });

  test('an init that fails half way leaves nothing', async () => {
    const { node: make, done, disk } = host({ startAgent: () => Promise.reject(new Error('engine away')) });
    const node = make();
    await expect(node.init(initRequest)).rejects.toThrow('engine away');
    expect(state(node)).toBe('inactive nobody alone');
    expect(disk()).toBeUndefined();
    expect(done).toEqual(['found', 'write membership', 'close manager', 'wipe']);
  });

  test('bad input is refused before anything is made', async () => {
    const { node: make, done } = host();
    const refused: Array<[Partial<InitRequest>, string]> = [
      [{ listenAddr: '' }, 'invalid ListenAddr "": invalid empty address'],
      [{ dataPathPort: 80 }, 'Datapath port number is not in valid range (1024-49151) : 80'],
      [{ defaultAddrPool: ['bogus'] }, 'invalid base pool bogus'],
      [{ defaultAddrPool: ['10.0.0.0/8'], subnetSize: 30 }, 'subnet size is out of range: 30'],
      [{ subnetSize: 30 }, 'subnet size is out of range: 30'],
      [
        { defaultAddrPool: ['fd00::/48'] },
        'invalid CIDR: "fd00::/48". Subnet size is too small for pool: 24',
      ],
      [
        { defaultAddrPool: ['192.0.2.0/24'] },
        'default address pool 192.0.2.0/24 overlaps the route 192.0.2.0/24 dev eth0 of this node',
      ],
      [{ defaultAddrPool: ['10.0.0.0/26'] }, 'Subnet size is too small for pool: 24'],
      [{ spec: { ...clusterSpecDefaults, name: 'other' } }, 'swarm spec must be named "default"'],
    ];
    for (const [request, text] of refused)
      await expect(make().init({ ...initRequest, ...request })).rejects.toThrow(text);
    await expect(make().join({ ...joinRequest, remoteAddrs: [] })).rejects.toThrow('at least 1 RemoteAddr');
    expect(done.filter((step) => step !== 'wipe')).toEqual([]);
  });

  // The order was read off dockerd 20.10.24 (test/swarm/http/steps/membership.ts).
  test('of all faults of a request the one is told that Swarm tells', async () => {
    const { node: make, done } = host();
    const inits: Array<[Partial<InitRequest>, string]> = [
      [{ listenAddr: '' }, 'invalid ListenAddr'],
      [{ spec: { name: 'other' } }, 'swarm spec must be named'],
      [{ listenAddr: 'nonsense' }, 'listen address must be'],
      [{ advertiseAddr: 'nonsense' }, 'advertise address must be'],
      [{ dataPathAddr: 'nonsense' }, 'data path address must be'],
      [{ defaultAddrPool: ['nonsense'] }, 'invalid base pool nonsense'],
      [{ dataPathPort: 1 }, 'Datapath port number'],
      [{ availability: 'nonsense' }, 'invalid Availability: "nonsense"'],
      [{ spec: { nodeCertExpiryNs: 1 } }, 'minimum certificate expiry time is: 1h0m0s'],
    ];
    const joins: Array<[Partial<JoinRequest>, string]> = [
      [{ listenAddr: '' }, 'invalid ListenAddr'],
      [{ remoteAddrs: [''] }, 'invalid remoteAddr "": invalid empty address'],
      [{ listenAddr: 'nonsense' }, 'listen address must be'],
      [{ dataPathAddr: 'nonsense' }, 'data path address must be'],
      [{ availability: 'nonsense' }, 'invalid Availability: "nonsense"'],
    ];
    // Each with all that come after it.
    for (const [at, [, text]] of inits.entries()) {
      const faults = inits.slice(at).reduceRight((all, [fault]) => ({ ...all, ...fault }), {});
      await expect(make().init({ ...initRequest, ...faults })).rejects.toThrow(text);
    }
    for (const [at, [, text]] of joins.entries()) {
      const faults = joins.slice(at).reduceRight((all, [fault]) => ({ ...all, ...fault }), {});
      await expect(make().join({ ...joinRequest, ...faults })).rejects.toThrow(text);
    }
    expect(done.filter((step) => step !== 'wipe')).toEqual([]);
  });

  test('an availability is one in letters of either case', async () => {
    const asked: string[] = [];
    const { node: make } = host({
      obtainCertificate: async ({ availability }) => {
        asked.push(availability);
        return member('worker');
      },
    });
    for (const availability of ['Drain', '']) {
      const node = make();
      await node.join({ ...joinRequest, availability });
      await node.leave(false);
    }
    expect(asked).toEqual(['drain', 'active']);
  });

  test('a refused join leaves nothing; a manager that is away is asked again', async () => {
    const tries: Error[] = [
      new OutsideError('connection refused', true),
      new SkepError('invalidArgument', 'A valid join token is necessary to join this cluster'),
    ];
    let asked = 0;
    const { node: make, disk } = host({
      obtainCertificate: () => Promise.reject(tries[asked++] ?? new Error('asked too often')),
    });
    const node = make();
    await expect(node.join(joinRequest)).rejects.toThrow('A valid join token is necessary');
    expect(asked).toBe(2);
    expect(state(node)).toBe('inactive nobody alone');
    expect(disk()).toBeUndefined();
  });

  test('a host of several addresses joins with the one that it uses towards the manager', async () => {
    const asked: string[] = [];
    const advertised: string[] = [];
    const { node: make } = host({
      interfaces: () =>
        ['192.0.2.1', '198.51.100.7'].map((address) => ({ name: 'eth0', address, internal: false })),
      addressTowards: async (to, port) => {
        asked.push(`${to} ${port}`);
        return '198.51.100.7' as Ip;
      },
      obtainCertificate: async (_request, { advertiseHost, dataPathHost }) => {
        advertised.push(`${advertiseHost} ${dataPathHost}`);
        return member('worker');
      },
    });
    const request = { ...joinRequest, remoteAddrs: ['198.51.100.1:2377'] };
    const joined = async (over: Partial<JoinRequest>): Promise<void> => {
      const node = make();
      await node.join({ ...request, ...over });
      await node.leave(false);
    };
    await joined({ advertiseAddr: '' });
    await joined({ advertiseAddr: '', dataPathAddr: '192.0.2.1' });
    await joined({ advertiseAddr: '192.0.2.1' });
    expect(asked[0]).toBe('198.51.100.1 2377');
    expect(advertised).toEqual([
      '198.51.100.7 198.51.100.7',
      '198.51.100.7 192.0.2.1',
      '192.0.2.1 192.0.2.1',
    ]);
    // To found a swarm the user must choose.
    await expect(make().init({ ...initRequest, advertiseAddr: '' })).rejects.toThrow('could not choose');
  });

  test('a join that takes too long goes on in the background, and leave ends it', async () => {
    const impatient: Clock = { nowMs: () => 0, steadyMs: () => 0, sleep: async () => undefined };
    let aborted = false;
    const { node: make } = host({
      obtainCertificate: (_request, _addresses, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            aborted = true;
            reject(signal.reason as Error);
          }),
        ),
    });
    const node = make(impatient);
    await expect(node.join(joinRequest)).rejects.toThrow('Timeout was reached before node joined');
    expect(state(node)).toBe('pending nobody managed');
    await node.leave(false);
    await expect.poll(() => state(node)).toBe('inactive nobody alone');
    expect(aborted).toBe(true);
  });

  test('a join where nobody listens is refused with the reason, while somebody waits for it', async () => {
    let nowMs = 0;
    const stepping: Clock = {
      nowMs: () => nowMs,
      steadyMs: () => nowMs,
      // The API's own wait of 20 s does not end before these.
      sleep: async (delayMs, signal) => {
        if (delayMs >= 20_000)
          return new Promise((_resolve, reject) =>
            signal?.addEventListener('abort', () => reject(signal.reason as Error)),
          );
        nowMs += delayMs;
      },
    };
    let asked = 0;
    const { node: make, done } = host({
      obtainCertificate: async () => {
        asked += 1;
        throw new OutsideError('no manager answers at 192.0.2.1:2377', true, {
          cause: new Error('connect ECONNREFUSED 192.0.2.1:2377'),
        });
      },
    });
    const node = make(stepping);
    await expect(node.join(joinRequest)).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'no manager answers at 192.0.2.1:2377: connect ECONNREFUSED 192.0.2.1:2377',
    });
    expect({ asked, nowMs }).toEqual({ asked: 5, nowMs: 8_000 });
    expect(state(node)).toBe('inactive nobody alone');
    expect(done).toEqual(['wipe']);
  });

  test('a restart comes back as what the node was, also while the engine is away at first', async () => {
    let failures = 2;
    const { node: make, done } = host({
      readMembership: async () => member('manager'),
      startManager: async () => {
        if (failures-- > 0) throw new OutsideError('etcd is not up yet', true);
        done.push('start manager');
        return quietManager;
      },
    });
    const node = make();
    await comeBack(node);
    expect(state(node)).toBe('active member managed');
    expect(done).toEqual(['start manager', 'start agent']);
  });

  describe('a locked manager', () => {
    const key = Buffer.from('the key');
    const lockedHost = (over: Partial<NodeParts> = {}) => {
      const made = host({
        openKeys: async () => false,
        unlock: (given) => {
          if (!key.equals(given)) throw new SkepError('unauthenticated', 'invalid key provided');
          made.done.push('unlock');
        },
        ...over,
      });
      return made;
    };
    const restored = async ({ node: make, done }: ReturnType<typeof host>): Promise<SwarmNode> => {
      const founder = make();
      await founder.init(initRequest);
      await founder.close();
      done.splice(0);
      const node = make();
      await comeBack(node);
      return node;
    };

    test('starts nothing, and says that it is locked as dockerd does', async () => {
      const at = lockedHost();
      const node = await restored(at);
      expect(at.done).toEqual([]);
      expect(node.membership()).toEqual({
        localNodeState: 'locked',
        isManager: true,
        nodeId: '',
        nodeAddr: '192.0.2.1',
        error: expect.stringContaining('Swarm is encrypted and needs to be unlocked') as string,
        remoteManagers: null,
      });
      expect(node.attachments()).toBeUndefined();
      await expect(node.init(initRequest)).rejects.toThrow('already part of a swarm');
      await expect(node.join(joinRequest)).rejects.toThrow('already part of a swarm');
      await expect(node.init({ ...initRequest, forceNewCluster: true })).rejects.toThrow(
        "Worker nodes can't be used",
      );
      await expect(node.leave(false)).rejects.toThrow(
        'Swarm is encrypted and locked. Please unlock it first',
      );
      expect(at.done).toEqual([]);
    });

    test('stays so with a wrong key, and comes back as what it was with the right one', async () => {
      const at = lockedHost();
      const node = await restored(at);
      await expect(node.unlock(Buffer.from('another'))).rejects.toThrow('invalid key provided');
      expect(state(node)).toBe('locked nobody alone');
      await node.unlock(key);
      expect(at.done).toEqual(['unlock', 'start manager', 'start agent']);
      expect(state(node)).toBe('active member managed');
      expect(node.membership().store).toBeDefined();
      await expect(node.unlock(key)).rejects.toThrow('swarm is not locked');
      await node.close();
    });

    test('leaves when it must: its containers go, and all that is on its disk', async () => {
      const at = lockedHost();
      const node = await restored(at);
      await node.leave(true);
      expect(at.done).toEqual(['remove containers', 'wipe']);
      expect(state(node)).toBe('inactive nobody alone');
    });

    test('runs its tasks once unlocked, also while the other managers are locked', async () => {
      const at = lockedHost();
      const without = lockedHost({
        readMembership: async () => at.disk(),
        startManager: () => Promise.reject(new OutsideError('etcd has no leader', true)),
      });
      await restored(at);
      const instant: Clock = {
        ...systemClock,
        sleep: async (ms, signal) => systemClock.sleep(Math.min(ms, 20), signal),
      };
      const node = without.node(instant);
      await comeBack(node);
      await node.unlock(key);
      expect(without.done).toEqual(['unlock', 'start agent']);
      expect(node.membership()).toMatchObject({ localNodeState: 'pending', error: 'etcd has no leader' });
      await node.close();
    });
  });

  test('a promoted node becomes a manager, a demoted one forgets what managers have', async () => {
    const { node: make, done, disk, tell } = host();
    const node = make();
    await node.join(joinRequest);
    done.splice(0);
    tell('worker');
    await expect.poll(() => done).toEqual(['write membership']);
    expect(disk()?.managers).toEqual([{ nodeId: 'm', addr: '192.0.2.9:2377' }]);

    tell('manager');
    await expect.poll(() => done.slice(1)).toEqual(['certificate', 'write membership', 'start manager']);
    expect(disk()?.role).toBe('manager');
    await expect.poll(() => node.membership().store).toBeDefined();

    done.splice(0);
    tell('worker');
    await expect
      .poll(() => done)
      .toEqual(['certificate', 'write membership', 'close manager', 'remove manager']);
    expect(node.membership().store).toBeUndefined();
    expect(disk()?.role).toBe('worker');
  });

  test('a backup is restored on a host of no swarm, and in place where the store is lost; never beside another', async () => {
    const backup = (clusterId: string): Backup => ({ head: { clusterId } }) as unknown as Backup;
    const request = { listenAddr: '', advertiseAddr: '', dataPathAddr: '' };
    const fresh = host();
    const node = fresh.node();
    expect(await node.restoreSwarm(backup('c'.repeat(25)), request)).toBe(member('manager').nodeId);
    expect(state(node)).toBe('active member managed');
    expect(fresh.done).toEqual(['restore', 'write membership', 'start agent']);
    await expect(node.restoreSwarm(backup('c'.repeat(25)), request)).rejects.toThrow(
      /already part of a swarm/,
    );
    await node.close();

    const lost = host({
      readMembership: async () => member('manager'),
      startManager: () => Promise.reject(new OutsideError('etcd ended', true)),
    });
    const damaged = lost.node();
    await comeBack(damaged);
    expect(damaged.membership()).toMatchObject({ localNodeState: 'pending', error: 'etcd ended' });
    await expect(damaged.restoreSwarm(backup('other'), request)).rejects.toThrow(/already part of a swarm/);
    await damaged.restoreSwarm(backup('c'.repeat(25)), request);
    expect(lost.done).toEqual(['start agent', 'restore in place', 'write membership']);
    expect(state(damaged)).toBe('active member managed');
    expect(damaged.membership().error).toBe('');
    await damaged.close();

    const failing = host({ restoreCluster: () => Promise.reject(new Error('no room')) });
    const empty = failing.node();
    await expect(empty.restoreSwarm(backup('c'), request)).rejects.toThrow('no room');
    expect(state(empty)).toBe('inactive nobody alone');
    expect(failing.done).toEqual(['wipe']);
  });

  test.each(['succeeds', 'fails'] as const)(
    'a backup restored while the node with a lost store is being started, and that %s: it is brought up once',
    async (how) => {
      const made = host({
        readMembership: async () => member('manager'),
        startManager: () => Promise.reject(new OutsideError('etcd ended', true)),
        ...(how === 'fails' && { restoreCluster: () => Promise.reject(new Error('no room')) }),
      });
      const node = made.node();
      await node.load();
      const comesUp = node.restore(new AbortController().signal);
      await expect.poll(() => node.membership().error).toBe('etcd ended');
      const backup = { head: { clusterId: 'c'.repeat(25) } } as unknown as Backup;
      const restored = node.restoreSwarm(backup, { listenAddr: '', advertiseAddr: '', dataPathAddr: '' });
      if (how === 'fails') await expect(restored).rejects.toThrow('no room');
      else await restored;
      await comesUp;
      const restoredInPlace = how === 'fails' ? [] : ['restore in place', 'write membership'];
      await expect.poll(() => made.done, { timeout: 5_000 }).toEqual([...restoredInPlace, 'start agent']);
      expect(node.membership()).toMatchObject(
        how === 'fails'
          ? { localNodeState: 'pending', error: 'etcd ended' }
          : { localNodeState: 'active', error: '' },
      );
      await node.close();
      expect(made.done.filter((what) => what === 'close agent')).toHaveLength(1);
    },
  );

  test('a manager whose store is lost while it runs is started anew', async () => {
    let lose: (err: Error) => void = () => undefined;
    let starts = 0;
    const { node: make } = host({
      readMembership: async () => member('manager'),
      startManager: async () => {
        starts += 1;
        return { ...quietManager, lost: new Promise<Error>((resolve) => (lose = resolve)) };
      },
    });
    const node = make();
    await comeBack(node);
    expect(starts).toBe(1);
    lose(new Error('etcd ended: torn'));
    await expect.poll(() => starts).toBe(2);
    await expect.poll(() => state(node)).toBe('active member managed');
    await node.close();
    lose(new Error('too late'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(starts).toBe(2);
  });

  test('who asks before a node is up again is not told that it is part of nothing', async () => {
    const { node: make } = host({ readMembership: async () => member('worker') });
    const node = make();
    await node.load();
    expect(node.membership()).toMatchObject({ localNodeState: 'pending', isManager: false });
    await expect(node.init(initRequest)).rejects.toThrow('This node is already part of a swarm');
  });

  test.each(['worker', 'manager'] as const)(
    'a %s that leaves while it is being started leaves nothing that runs',
    async (role) => {
      let start = (): void => undefined;
      const started = new Promise<void>((resolve) => (start = resolve));
      let beginsAgent = (): void => undefined;
      const agentBegins = new Promise<void>((resolve) => (beginsAgent = resolve));
      const made = host({
        readMembership: async () => member(role),
        startAgent: async () => {
          beginsAgent();
          await started;
          made.done.push('start agent');
          return made.agent();
        },
      });
      const node = made.node();
      await node.load();
      const restored = node.restore(new AbortController().signal);
      await agentBegins;
      const left = node.leave(true);
      start();
      await Promise.all([left, restored]);
      expect(state(node)).toBe('inactive nobody alone');
      expect(made.done.filter((what) => what.endsWith('agent'))).toEqual(['start agent', 'close agent']);
      expect(made.done.filter((what) => what.endsWith('manager'))).toEqual(
        role === 'worker' ? [] : ['start manager', 'close manager'],
      );
      expect(made.done.slice(-2)).toEqual(['remove containers', 'wipe']);
      // Another swarm may take it now.
      await node.init(initRequest);
      expect(state(node)).toBe('active member managed');
    },
  );

  test('a manager that waits for the others to make a quorum leaves at once', async () => {
    let waits = 0;
    const { node: make, done } = host({
      readMembership: async () => member('manager'),
      startManager: (_membership, _alone, signal) => {
        waits += 1;
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
        );
      },
    });
    const instant: Clock = {
      ...systemClock,
      sleep: async (ms, signal) => systemClock.sleep(Math.min(ms, 20), signal),
    };
    const node = make(instant);
    await comeBack(node);
    expect(node.membership()).toMatchObject({ localNodeState: 'pending', error: '' });
    await node.leave(true);
    expect(state(node)).toBe('inactive nobody alone');
    expect(done).toEqual(['start agent', 'close agent', 'remove containers', 'wipe']);
    expect(waits).toBe(1);
  });

  test('a manager whose peers are lost goes on alone; a worker cannot', async () => {
    const alone: boolean[] = [];
    const { node: make, agent } = host({
      readMembership: async () => member('manager'),
      startManager: async (_, isAlone) => {
        alone.push(isAlone);
        return quietManager;
      },
    });
    const node = make();
    await comeBack(node);
    const request = { ...initRequest, forceNewCluster: true };
    expect(await node.init(request)).toBe(member('manager').nodeId);
    expect(alone).toEqual([false, true]);
    expect(node.membership()).toMatchObject({ localNodeState: 'active', isManager: true });
    await node.close();

    const worker = host({ readMembership: async () => member('worker'), startAgent: async () => agent() });
    const other = worker.node();
    await comeBack(other);
    await expect(other.init(request)).rejects.toThrow("Worker nodes can't be used");
  });

  test('a manager without the others runs its tasks, and says that it is no manager yet', async () => {
    const { node: make, done } = host({
      readMembership: async () => member('manager'),
      startManager: () => Promise.reject(new OutsideError('etcd has no leader', true)),
    });
    const instant: Clock = {
      ...systemClock,
      sleep: async (ms, signal) => systemClock.sleep(Math.min(ms, 20), signal),
    };
    const node = make(instant);
    await comeBack(node);
    expect(done).toEqual(['start agent']);
    expect(node.membership()).toMatchObject({
      localNodeState: 'pending',
      isManager: true,
      error: 'etcd has no leader',
    });
    await node.close();
  });
});
