/** The reconciler against a model of the kernel: order, isolation, drift, convergence from wherever it was stopped. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { differenceLine } from '../../../../src/dataplane/difference.js';
import { MissingModuleError } from '../../../../src/dataplane/kernel/kernel-error.js';
import type { EngineName } from '../../../../src/dataplane/plan/balancing.js';
import { engineNames } from '../../../../src/dataplane/plan/balancing.js';
import type { Desired } from '../../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import { identity } from '../../../../src/dataplane/plan/objects.js';
import { sandboxesAtOnce } from '../../../../src/dataplane/reconcile/node-pass.js';
import { Reconciler } from '../../../../src/dataplane/reconcile/reconciler.js';
import type { Endpoint } from '../../../../src/dataplane/state.js';
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';
import type { ServiceId, TaskId } from '../../../../src/model/ids.js';
import type { Clock } from '../../../../src/runtime/clock.js';
import { changed, emptyNetwork, random } from '../plan/changing-network.js';
import type { ClusterOf } from '../plan/network-state.js';
import { hostOf, ingressId, mynetId, nodeIdOf, sandboxOf, stateOf } from '../plan/network-state.js';
import { ModelKernel } from './model-kernel.js';

class HandClock implements Clock {
  now = 1_000_000;
  nowMs = (): number => this.now;
  steadyMs = (): number => this.now;
  sleep = async (delayMs: number): Promise<void> => {
    this.now += delayMs;
  };
}

const cluster: ClusterOf = {
  ingress: true,
  ports: { 8080: 80 },
  tasks: [
    { part: 3, node: 1 },
    { part: 4, node: 2 },
    { part: 5, node: 1, service: 'caller' },
  ],
};
const box = '/run/docker/netns/box3';
const legs = [sandboxOf(ingressId, 3, box), sandboxOf(mynetId, 3, box), sandboxOf(mynetId, 5)];
const desired = (over: ClusterOf = {}): Desired => ({
  state: stateOf(1, { ...cluster, ...over }),
  sandboxes: legs,
});
const nothing: Desired = { state: null, sandboxes: [] };
/** The engine moved both interfaces into the container. */
function fillBox(kernel: ModelKernel): void {
  const kernelRule: KernelObject = {
    kind: 'rule',
    family: 4,
    priority: 0,
    table: 255,
    from: null,
    to: null,
    iif: null,
    protocol: 2,
  };
  kernel.put(`sandbox ${box}`, kernelRule, ...eths);
}
const eths = legs.slice(0, 2).flatMap(({ mac, address }, index): KernelObject[] => [
  { kind: 'link', name: `eth${index}`, type: 'veth', mac, mtu: 1450, up: true },
  { kind: 'address', device: `eth${index}`, address, prefixLength: 24 },
]);

function make(kernel: ModelKernel): { reconciler: Reconciler; clock: HandClock } {
  const clock = new HandClock();
  return { clock, reconciler: new Reconciler({ kernel, clock, log: pino({ level: 'silent' }) }) };
}
async function programmed(
  want: Desired = desired(),
  engine: EngineName = 'ipvs',
): Promise<ReturnType<typeof make> & { kernel: ModelKernel }> {
  const kernel = new ModelKernel(engine);
  fillBox(kernel);
  const made = make(kernel);
  made.reconciler.setDesired(want);
  await made.reconciler.pass();
  return { ...made, kernel };
}
const image = (kernel: ModelKernel): unknown =>
  [...kernel.namespaces]
    .sort()
    .map(([name, objects]) => [name, objects.map((o) => JSON.stringify(o)).sort()]);

describe('reconciler', () => {
  test('a look at everything that takes long is made less often: a twentieth of a processor', async () => {
    const kernel = new ModelKernel();
    fillBox(kernel);
    const clock = new HandClock();
    let processorMs = 0;
    let lookMs = 100;
    const reconciler = new Reconciler({
      ...{ kernel, clock, log: pino({ level: 'silent' }) },
      processorMs: () => (processorMs += lookMs),
    });
    reconciler.setDesired(desired());
    await reconciler.pass();
    clock.now += 10_000;
    expect(await reconciler.pass()).toBe(10_000);
    lookMs = 2_000;
    clock.now += 10_000;
    expect(await reconciler.pass()).toBe(38_000);
    // Not due, and so no look at everything.
    clock.now += 10_000;
    expect(await reconciler.pass()).toBe(28_000);
  });

  test('a network of 70,000 endpoints is programmed: no list of it is given as arguments', async () => {
    const state = stateOf(1, { ingress: false });
    const endpoints = Array.from({ length: 70_000 }, (_, index): Endpoint => {
      const octets = [(index >> 16) & 255, (index >> 8) & 255, index & 255];
      const mac = octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':');
      return {
        ...{ taskId: `task${index}` as TaskId, serviceId: 'web' as ServiceId, nodeId: nodeIdOf(2) },
        ...{ address: `10.${octets.join('.')}` as Ip, mac: `02:42:0a:${mac}` as Mac, name: `web.${index}` },
        ...{ serving: true, weight: 1, aliases: [], nameservers: [] },
      };
    });
    const overlays = state.overlays.map((overlay) => ({
      ...overlay,
      subnet: '10.0.0.0/8' as Cidr,
      endpoints,
    }));
    const { reconciler, kernel } = await programmed({ state: { ...state, overlays }, sandboxes: [] });
    expect(kernel.applied.length).toBeGreaterThan(140_000);
    expect(await reconciler.verify()).toEqual([]);
  });

  test('does nothing before the first desired value', async () => {
    const kernel = new ModelKernel();
    kernel.put('overlay 4097', { kind: 'namespace' });
    const { reconciler } = make(kernel);
    await reconciler.pass();
    expect([kernel.observed, kernel.applied, await reconciler.verify()]).toEqual([0, [], []]);
  });

  test.each(engineNames)('with %s programs everything, then has nothing to do', async (engine) => {
    const { reconciler, kernel } = await programmed(desired(), engine);
    expect(reconciler.status()).toEqual({ engine, programmedRevision: 1, lastError: '', driftRepairs: 0 });
    expect(await reconciler.verify()).toEqual([]);
    const { observed } = kernel;
    const done = kernel.applied.length;
    await reconciler.pass();
    expect([kernel.applied.length, kernel.observed]).toEqual([done, observed]);
  });

  test.each(engineNames)(
    'with %s makes every namespace reachable before anything is balanced, and takes away the other way round',
    async (engine) => {
      const { reconciler, kernel } = await programmed(desired(), engine);
      const balancing = /server|ipset|ipvs|chain|jump|\/vs\/|\bfilter |mesh|local-address/;
      const first = kernel.applied.findIndex((text) => balancing.test(text));
      const puts = kernel.applied.slice(first).filter((text) => !/: - /.test(text));
      expect(puts.filter((text) => !balancing.test(text))).toEqual([]);
      kernel.applied.length = 0;
      reconciler.setDesired(
        desired({ revision: 2, tasks: cluster.tasks?.filter(({ part }) => part !== 4) ?? [] }),
      );
      await reconciler.pass();
      const lastBalancing = kernel.applied.findLastIndex((text) => balancing.test(text));
      const firstUnreach = kernel.applied.findIndex((text) => /- (neighbour|fdb|route)/.test(text));
      expect(lastBalancing).toBeGreaterThanOrEqual(0);
      expect(firstUnreach).toBeGreaterThan(lastBalancing);
    },
  );

  test.each(engineNames)(
    'with %s converges from wherever it was killed, on the way in, across a change and on the way out',
    async (engine) => {
      const changed = desired({ revision: 2, ports: { 9090: 80 }, tasks: [{ part: 3, node: 1 }, { part: 7, node: 2 }] }); // prettier-ignore
      for (const [from, to] of [
        [null, desired()],
        [desired(), changed],
        [desired(), { ...nothing, sandboxes: legs }],
      ] as const) {
        const whole = await programmed(from ?? nothing, engine);
        whole.kernel.applied.length = 0;
        whole.reconciler.setDesired(to);
        await whole.reconciler.pass();
        const opCount = whole.kernel.applied.length;
        expect(opCount).toBeGreaterThan(5);
        for (let killedAfter = 0; killedAfter < opCount; killedAfter++) {
          const { kernel, reconciler } = await programmed(from ?? nothing, engine);
          kernel.opsLeft = killedAfter;
          reconciler.setDesired(to);
          await reconciler.pass();
          kernel.opsLeft = Infinity;
          const restarted = make(kernel).reconciler;
          restarted.setDesired(to);
          await restarted.pass();
          expect(restarted.status().lastError, `killed after ${killedAfter}`).toBe('');
          expect(await restarted.verify(), `killed after ${killedAfter}`).toEqual([]);
          expect(image(kernel), `killed after ${killedAfter}`).toEqual(image(whole.kernel));
        }
      }
    },
    30_000, // hundreds of lives of a daemon
  );

  test.each(engineNames)(
    'with %s ends where one that looks at everything ends, whatever changes, with few looks',
    async (engine) => {
      const next = random(Number(process.env['SKEP_SEED'] ?? 20_261));
      let steps = 0;
      let looks = 0;
      for (let walk = 0; walk < 12; walk++) {
        const [kernel, other] = [new ModelKernel(engine), new ModelKernel(engine)];
        for (const one of [kernel, other]) fillBox(one);
        const { reconciler } = make(kernel);
        let want = emptyNetwork();
        for (let step = 0; step < 30; step++) {
          want = changed(want, next);
          const { observed } = kernel;
          reconciler.setDesired(want);
          await reconciler.pass();
          // What hung on something made anew is made by the pass after.
          if (reconciler.programmedRevision !== want.state.revision) await reconciler.pass();
          looks += kernel.observed - observed;
          steps += 1;
          const restarted = make(other).reconciler;
          restarted.setDesired(want);
          await restarted.pass();
          expect(await reconciler.verify(), `walk ${walk}, step ${step}`).toEqual([]);
          expect(image(kernel), `walk ${walk}, step ${step}`).toEqual(image(other));
          expect(reconciler.status()).toMatchObject({ lastError: '', driftRepairs: 0 });
          expect(reconciler.programmedRevision).toBe(want.state.revision);
        }
      }
      expect(looks / steps).toBeLessThan(1);
    },
    20_000, // hundreds of whole nodes
  );

  test('looks at a namespace again whose part of a change failed, and at no other', async () => {
    const { kernel, reconciler, clock } = await programmed(desired({ tasks: [{ part: 9, node: 2 }] }));
    const { observed } = kernel;
    kernel.broken.add('overlay 4097');
    reconciler.setDesired(desired({ revision: 2 }));
    await reconciler.pass();
    expect(reconciler.status().lastError).toMatch(/^overlay 4097: .*EPERM/);
    expect(kernel.observed).toBe(observed + 2); // the container: its links, then the rest
    // A change in the meantime is part of what the next look puts right.
    reconciler.setDesired(desired({ revision: 3, vips: { web: 9 } }));
    await reconciler.pass();
    expect(reconciler.programmedRevision).toBe(1);
    kernel.broken.clear();
    clock.now += 5_000;
    await reconciler.pass();
    expect(reconciler.status()).toMatchObject({ programmedRevision: 3, lastError: '', driftRepairs: 0 });
    expect(await reconciler.verify()).toEqual([]);
  });

  test('a change does not hide drift: what is drifted is found by the next look and counted', async () => {
    const { kernel, reconciler } = await programmed();
    kernel.remove('overlay 4097', 'neighbour br0 10.0.1.4');
    const tasks = [...(cluster.tasks ?? []), { part: 8, node: 2 }];
    reconciler.setDesired(desired({ revision: 2, tasks }));
    await reconciler.pass();
    expect(kernel.applied.at(-1)).not.toContain('10.0.1.4');
    kernel.listeners.get('overlay 4097')?.('objects');
    await reconciler.pass();
    expect(reconciler.status()).toMatchObject({ programmedRevision: 2, driftRepairs: 1 });
    expect(await reconciler.verify()).toEqual([]);
  });

  test.each(engineNames)('with %s leaves nothing of its own and all of the strangers', async (engine) => {
    const { kernel, reconciler } = await programmed(desired(), engine);
    const stranger: KernelObject = {
      kind: 'virtualServer',
      family: 4,
      mark: 7,
      scheduler: 'rr',
      affinityS: null,
    };
    kernel.put('host', stranger);
    expect(kernel.releases).toBe(0);
    reconciler.setDesired(nothing);
    await reconciler.pass();
    const left = kernel.namespaces
      .get('host')
      ?.filter(({ kind }) => !['sysctl', 'ipvsTimeouts', 'link'].includes(kind));
    expect(left).toEqual([...hostOf(1).filter(({ kind }) => kind === 'address'), stranger]);
    expect(kernel.releases).toBe(1);
    expect(await kernel.overlayNamespaces()).toEqual([]);
    expect(await reconciler.verify()).toEqual([]);
  });

  test('states that come faster than passes end do not keep those before them from counting as programmed', async () => {
    const { reconciler, kernel } = await programmed();
    let revision = 1;
    kernel.onApply = () => reconciler.setDesired(desired({ revision: ++revision }));
    for (let pass = 0; pass < 5; pass += 1) {
      const expected = ++revision;
      reconciler.setDesired(
        desired({ revision, tasks: [...(cluster.tasks ?? []), { part: 10 + pass, node: 2 }] }),
      );
      await reconciler.pass();
      expect(revision).toBeGreaterThan(expected);
      expect(reconciler.programmedRevision).toBe(expected);
    }
  });

  test('keeps the engine while something of it is left', async () => {
    const { kernel, reconciler, clock } = await programmed(desired(), 'ebpf');
    kernel.broken.add('host');
    reconciler.setDesired(nothing);
    await reconciler.pass();
    expect(kernel.releases).toBe(0);
    kernel.broken.clear();
    clock.now += 5_000;
    await reconciler.pass();
    expect(kernel.releases).toBe(1);
  });

  test('one broken overlay holds up nobody else and is retried with backoff', async () => {
    const kernel = new ModelKernel();
    kernel.broken.add('overlay 4097');
    const { reconciler, clock } = make(kernel);
    reconciler.setDesired(desired());
    await reconciler.pass();
    expect(reconciler.status().lastError).toMatch(/^overlay 4097: .*EPERM/);
    expect(reconciler.programmedRevision).toBe(0);
    expect(kernel.applied.some((text) => text.startsWith('host: + real-server'))).toBe(true);
    expect(await reconciler.pass()).toBeLessThanOrEqual(100);
    kernel.broken.clear();
    clock.now += 1_000;
    await reconciler.pass();
    expect(reconciler.status()).toMatchObject({ programmedRevision: 1, lastError: '' });
  });

  test('a kernel without IPVS gets its overlay and a clear error', async () => {
    const kernel = new ModelKernel();
    kernel.balancingUnavailable = new MissingModuleError('ip_vs');
    const { reconciler } = make(kernel);
    reconciler.setDesired(desired());
    await reconciler.pass();
    expect(reconciler.status().lastError).toContain('overlay 4097: this kernel lacks the module ip_vs');
    expect(kernel.applied).toContainEqual('overlay 4097: + neighbour br0 10.0.1.4 02:42:0a:00:01:04');
    expect(kernel.applied.filter((text) => /server/.test(text))).toEqual([]);
    await reconciler.waitVeth(legs[2]?.endpointId ?? '', AbortSignal.timeout(10));
  });

  test("with ebpf follows the host's devices and addresses, which is no drift", async () => {
    const { kernel, reconciler } = await programmed(desired(), 'ebpf');
    const follow = async (): Promise<string[]> => {
      kernel.applied.length = 0;
      kernel.listeners.get('host')?.('objects');
      await reconciler.pass();
      return kernel.applied;
    };
    const bridge: KernelObject = { kind: 'link', name: 'br-1', type: 'bridge', mac: '02:42:11:22:33:66' as never }; // prettier-ignore
    kernel.put('host', bridge, { kind: 'address', device: 'br-1', address: '172.18.0.1' as never, prefixLength: 16 }); // prettier-ignore
    expect(await follow()).toEqual([
      'host: + local-address 172.18.0.1',
      'host: + filter br-1 ingress skep_uplink 0000000000000001',
    ]);
    kernel.remove('host', 'address br-1 172.18.0.1/16');
    expect(await follow()).toEqual([
      'host: - filter br-1 ingress skep_uplink 0000000000000001',
      'host: - local-address 172.18.0.1',
    ]);
    kernel.put('host', {
      kind: 'chain',
      family: 4,
      table: 'filter',
      name: 'SKEP-USER',
      rules: ['-p tcp -j DROP'],
    });
    expect((await follow()).map((text) => text.slice(0, 'host: ~ mesh'.length))).toEqual(['host: ~ mesh']);
    expect(reconciler.status()).toMatchObject({ lastError: '', driftRepairs: 0 });
    kernel.remove('host', 'filter eth0 ingress');
    expect(await follow()).toEqual(['host: + filter eth0 ingress skep_uplink 0000000000000001']);
    expect(reconciler.status().driftRepairs).toBe(1);
  });

  test('counts repairs of drift, but not changes of what is desired', async () => {
    const { kernel, reconciler, clock } = await programmed();
    reconciler.setDesired(desired({ revision: 2, ports: {} }));
    await reconciler.pass();
    expect(reconciler.status().driftRepairs).toBe(0);
    kernel.remove('overlay 4097', 'neighbour br0 10.0.1.4');
    expect((await reconciler.verify()).map(differenceLine)).toEqual([
      'overlay 4097: + neighbour br0 10.0.1.4 02:42:0a:00:01:04',
    ]);
    clock.now += 10_000;
    await reconciler.pass();
    expect(reconciler.status().driftRepairs).toBe(1);
    kernel.remove('host', 'neighbour sk-ingress 10.0.0.4');
    kernel.listeners.get('host')?.('objects');
    await reconciler.pass();
    expect(reconciler.status().driftRepairs).toBe(2);
  });

  test('several containers are programmed at a time, and nothing else', async () => {
    const kernel = new ModelKernel();
    const underWay: string[] = [];
    const most = new Map<string, number>();
    const observe = kernel.observe.bind(kernel);
    kernel.observe = async (scope, ...rest) => {
      underWay.push(scope.kind);
      most.set(scope.kind, Math.max(most.get(scope.kind) ?? 0, underWay.length));
      await new Promise(setImmediate);
      underWay.splice(underWay.indexOf(scope.kind), 1);
      return observe(scope, ...rest);
    };
    const sandboxes = Array.from({ length: 9 }, (_, i) =>
      sandboxOf(mynetId, 3, `/run/docker/netns/box-${i}`),
    );
    const { reconciler } = make(kernel);
    reconciler.setDesired({ ...desired(), sandboxes });
    await reconciler.pass();
    expect([...most].sort()).toEqual([
      ['esp', 1],
      ['host', 1],
      ['overlay', 1],
      ['sandbox', sandboxesAtOnce],
    ]);
  });

  test('nothing is put back into a container that leaves its networks while a pass looks at it', async () => {
    const { kernel, reconciler } = await programmed();
    const name = `sandbox ${box}`;
    kernel.remove(name, 'address eth0 10.0.0.3/24');
    kernel.onceObserved = (observed) => {
      if (observed === name) reconciler.setDesired({ ...desired(), sandboxes: legs.slice(2) });
    };
    kernel.applied.length = 0;
    kernel.listeners.get(name)?.('objects');
    await reconciler.pass();
    expect([kernel.applied, reconciler.status().driftRepairs]).toEqual([[], 0]);
  });

  test('what is told of while a namespace is looked at is looked at again, at once', async () => {
    const { kernel, reconciler } = await programmed();
    const id = 'neighbour br0 10.0.1.4';
    // Somebody removes it after it was read, and before the pass is over.
    kernel.onceObserved = (name) => {
      if (name !== 'overlay 4097') return;
      kernel.remove(name, id);
      kernel.listeners.get(name)?.('objects');
      delete kernel.onceObserved;
    };
    kernel.listeners.get('overlay 4097')?.('objects');
    expect(await reconciler.pass()).toBe(0);
    expect((await reconciler.verify()).length).toBe(1);
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(reconciler.status().driftRepairs).toBe(1);
  });

  test('what is told of while it applies may be its own change, and is looked at once more, a little later', async () => {
    const { kernel, reconciler, clock } = await programmed();
    kernel.onApply = (name) => kernel.listeners.get(name)?.('objects');
    reconciler.setDesired(desired({ revision: 2, ports: {} }));
    const { observed } = kernel;
    const waitMs = await reconciler.pass();
    expect(waitMs).toBeGreaterThan(500);
    expect(waitMs).toBeLessThanOrEqual(2_000);
    const looked = kernel.observed - observed;
    clock.now += waitMs;
    await reconciler.pass();
    expect(kernel.observed - observed).toBeGreaterThan(looked);
    const settled = kernel.observed;
    clock.now += waitMs;
    await reconciler.pass();
    expect(kernel.observed).toBe(settled);
  });

  test.each(engineNames)(
    'with %s repair puts right what it finds, and says what that was',
    async (engine) => {
      const { kernel, reconciler } = await programmed(desired(), engine);
      kernel.remove('overlay 4097', 'neighbour br0 10.0.1.4');
      kernel.remove('host', 'neighbour sk-ingress 10.0.0.4');
      kernel.put('overlay 4097', { kind: 'fdb', device: 'vxlan0', mac: '02:42:0a:00:01:63' as never, vtep: '192.168.50.9' as never }); // prettier-ignore
      const { found, repaired, left } = await reconciler.repair();
      expect(found.map(differenceLine).sort()).toEqual([
        'host: + neighbour sk-ingress 10.0.0.4 02:42:0a:00:00:04',
        'overlay 4097: + neighbour br0 10.0.1.4 02:42:0a:00:01:04',
        'overlay 4097: - fdb vxlan0 02:42:0a:00:01:63 self dst 192.168.50.9',
      ]);
      expect([repaired, left, reconciler.status().driftRepairs]).toEqual([3, [], 3]);
      expect(await reconciler.repair()).toEqual({ found: [], repaired: 0, left: [] });
    },
  );

  test('repair tells what it cannot put right', async () => {
    const { kernel, reconciler } = await programmed();
    kernel.remove('overlay 4097', 'neighbour br0 10.0.1.4');
    kernel.broken.add('overlay 4097');
    const { found, repaired, left } = await reconciler.repair();
    expect([found.length, repaired, left]).toEqual([1, 0, found]);
  });

  test('reads chains and sets, of which the kernel tells when they may have changed, every five minutes all the same', async () => {
    const { reconciler, kernel, clock } = await programmed();
    const readAfter = async (waitMs: number): Promise<string[]> => {
      kernel.freshlyRead.length = 0;
      clock.now += waitMs;
      await reconciler.pass();
      return [...new Set(kernel.freshlyRead)].sort();
    };
    expect(await readAfter(60_000)).toEqual([]);
    expect((await readAfter(300_000)).filter((name) => !name.startsWith('sandbox'))).toEqual([
      'esp',
      'host',
      'overlay 4096',
      'overlay 4097',
    ]);
  });

  test('a sandbox is programmed once its interface is there, without counting as drift', async () => {
    const kernel = new ModelKernel();
    const { reconciler } = make(kernel);
    reconciler.setDesired(desired());
    await reconciler.pass();
    const [ingressLeg, mynetLeg] = legs.map(({ endpointId }) => endpointId);
    const soon = (): AbortSignal => AbortSignal.timeout(10);
    await reconciler.waitVeth(mynetLeg ?? '', soon());
    await expect(reconciler.waitSandbox(mynetLeg ?? '', soon())).rejects.toThrow();
    expect(reconciler.status()).toMatchObject({ programmedRevision: 1, lastError: '' });
    fillBox(kernel);
    reconciler.poke();
    await reconciler.pass();
    await reconciler.waitSandbox(mynetLeg ?? '', soon());
    await reconciler.waitSandbox(ingressLeg ?? '', soon());
    expect(reconciler.status().driftRepairs).toBe(0);
  });

  test.each(engineNames)(
    'with %s puts back the interface of a container that the engine had set up, and no other',
    async (engine) => {
      const { kernel, reconciler } = await programmed(desired(), engine);
      const sandbox = `sandbox ${box}`;
      const restarted = make(kernel).reconciler;
      for (const daemon of [reconciler, restarted]) {
        for (const id of ['link eth1', `address eth1 10.0.1.3/24`]) kernel.remove(sandbox, id);
        const before = daemon.status().driftRepairs;
        daemon.setDesired(desired());
        expect((await daemon.repair()).found.map(differenceLine)).toEqual([
          `${sandbox}: + link eth1 veth 02:42:0a:00:01:03 mtu 1450 up`,
          `${sandbox}: + address eth1 10.0.1.3/24`,
        ]);
        expect(kernel.namespaces.get(sandbox)).toContainEqual(
          expect.objectContaining({ name: 'eth1', up: true }),
        );
        expect(daemon.status().driftRepairs - before).toBe(daemon === reconciler ? 2 : 0);
      }

      // Where the engine is not done, nothing is touched.
      const early = new ModelKernel(engine);
      early.put(sandbox, ...eths.slice(0, 3));
      const { reconciler: waiting } = make(early);
      waiting.setDesired(desired());
      await waiting.pass();
      await waiting.pass();
      expect(early.applied.filter((text) => /sandbox.* (link|address eth)/.test(text))).toEqual([]);
    },
  );

  test('a container that leaves its networks and comes back at once is the engine’s to set up again', async () => {
    const { kernel, reconciler, clock } = await programmed();
    const sandbox = `sandbox ${box}`;
    const others = legs.slice(2);
    reconciler.setDesired({ ...desired(), sandboxes: others });
    await reconciler.pass();
    for (const object of eths) kernel.remove(sandbox, identity(object));
    // Its rules are there still.
    expect(kernel.namespaces.get(sandbox)?.some(({ kind }) => kind === 'rule')).toBe(true);
    kernel.applied.length = 0;
    const back = legs.map((leg) =>
      leg.sandboxKey === box ? { ...leg, endpointId: leg.endpointId.replace(/^./, 'f') } : leg,
    );
    clock.now += 300;
    reconciler.setDesired({ ...desired(), sandboxes: back });
    await reconciler.pass();
    await reconciler.pass();
    expect(kernel.applied.filter((text) => /sandbox.* (link|address) eth/.test(text))).toEqual([]);
    fillBox(kernel);
    clock.now += 2_000;
    reconciler.poke();
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    // Disconnected for good, nothing of ours stays.
    reconciler.setDesired({ ...desired(), sandboxes: others });
    await reconciler.pass();
    clock.now += 2_000;
    await reconciler.pass();
    expect(
      kernel.namespaces.get(sandbox)?.some((object) => object.kind === 'rule' && object.protocol === 94),
    ).toBe(false);
  });

  test('tells of each overlay’s namespace that was made, once it is programmed', async () => {
    const kernel = new ModelKernel();
    const { reconciler } = make(kernel);
    let told = 0;
    reconciler.onNamespaceMade(() => {
      expect(kernel.namespaces.get('overlay 4097')?.some(({ kind }) => kind === 'address')).toBe(true);
      told += 1;
    });
    reconciler.setDesired(desired());
    await reconciler.pass();
    expect(told).toBe(2);
    kernel.put('host', { kind: 'link', name: 'stranger' });
    await reconciler.refresh('all');
    await reconciler.pass();
    expect(told).toBe(2);
    kernel.namespaces.delete('overlay 4097');
    kernel.changedQuietly.add('overlay 4097');
    await reconciler.refresh('all');
    await reconciler.pass();
    expect(told).toBe(3);
  });

  test('looks where something changed without a word', async () => {
    const { kernel, reconciler } = await programmed();
    const { observed } = kernel;
    await reconciler.refresh('all');
    await reconciler.pass();
    expect(kernel.observed).toBe(observed);
    kernel.remove('overlay 4097', 'ipset-entry skep-vip 10.0.1.2');
    kernel.changedQuietly.add('overlay 4097');
    await reconciler.refresh('all');
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(reconciler.status().driftRepairs).toBe(1);
  });

  test('asks at once where it is told of changed rules, and looks where they are ours', async () => {
    const { kernel, reconciler } = await programmed();
    const { observed } = kernel;
    kernel.listeners.get('host')?.('rules');
    await reconciler.refreshRules();
    await reconciler.pass();
    expect(kernel.observed).toBe(observed);
    kernel.remove('host', 'chain filter SKEP-FORWARD');
    kernel.changedQuietly.add('host');
    // Nobody has told of it.
    await reconciler.refreshRules();
    await reconciler.pass();
    expect(kernel.observed).toBe(observed);
    kernel.listeners.get('host')?.('rules');
    await reconciler.refreshRules();
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(reconciler.status().driftRepairs).toBe(1);
  });

  test.each(['told of', 'found'] as const)(
    'a change that is %s while a namespace waits for its next try does not wait with it',
    async (how) => {
      const { kernel, reconciler, clock } = await programmed();
      kernel.broken.add('host');
      kernel.remove('host', 'neighbour sk-ingress 10.0.0.4');
      kernel.listeners.get('host')?.('objects');
      for (let failures = 0; failures < 8; failures++) {
        await reconciler.pass();
        clock.now += 10_000;
      }
      const waitMs = await reconciler.pass();
      expect(waitMs).toBe(5_000);
      kernel.broken.clear();
      kernel.remove('host', 'sysctl net/ipv4/ip_forward');
      if (how === 'told of') kernel.listeners.get('host')?.('objects');
      else {
        kernel.changedQuietly.add('host');
        await reconciler.refresh('all');
      }
      await reconciler.pass();
      expect(await reconciler.verify()).toEqual([]);
    },
  );

  test('what is told of while a namespace fails is tried again soon, but not at once', async () => {
    const { kernel, reconciler, clock } = await programmed();
    kernel.broken.add('host');
    kernel.remove('host', 'neighbour sk-ingress 10.0.0.4');
    kernel.listeners.get('host')?.('objects');
    let waitMs = 0;
    for (let failures = 0; failures < 8; failures++) {
      kernel.onceObserved = (name) => {
        if (name === 'host') kernel.listeners.get(name)?.('objects');
      };
      waitMs = await reconciler.pass();
      clock.now += waitMs;
    }
    expect(waitMs).toBe(1_500);
  });

  test('what changes between the first look at a namespace and the end of its pass is not missed', async () => {
    const kernel = new ModelKernel();
    fillBox(kernel);
    const before = make(kernel).reconciler;
    before.setDesired(desired());
    await before.pass();
    await before.pass();
    kernel.listeners.clear();
    // A daemon that was killed starts again: all is right, until somebody changes something it has just seen.
    const { reconciler, clock } = make(kernel);
    reconciler.setDesired(desired());
    kernel.onceObserved = (name) => {
      if (name !== 'overlay 4097') return;
      kernel.remove(name, 'neighbour br0 10.0.1.4');
      kernel.listeners.get(name)?.('objects');
      delete kernel.onceObserved;
    };
    clock.now += await reconciler.pass();
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(clock.now - 1_000_000).toBeLessThan(2_000);
  });

  test('a namespace that a pass has made is looked at once more, as nobody listened while it was', async () => {
    const { kernel, reconciler, clock } = await programmed();
    kernel.remove('overlay 4097', 'neighbour br0 10.0.1.4');
    const waitMs = await reconciler.pass();
    expect(waitMs).toBeLessThanOrEqual(2_000);
    clock.now += waitMs;
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(await reconciler.pass()).toBeGreaterThan(5_000);
  });

  test('makes an overlay’s namespace again that somebody removed, and listens there', async () => {
    const { kernel, reconciler } = await programmed();
    const name = 'overlay 4097';
    const old = kernel.listeners.get(name);
    kernel.namespaces.delete(name);
    kernel.changedQuietly.add(name);
    await reconciler.refresh('chains');
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
    expect(kernel.listeners.get(name)).not.toBe(old);
    kernel.remove(name, 'neighbour br0 10.0.1.4');
    kernel.listeners.get(name)?.('objects');
    await reconciler.pass();
    expect(await reconciler.verify()).toEqual([]);
  });

  test('tells of a VTEP address that no device holds', async () => {
    const kernel = new ModelKernel();
    kernel.mtuBytes = null;
    const { reconciler } = make(kernel);
    reconciler.setDesired(desired());
    await reconciler.pass();
    expect(reconciler.status().lastError).toContain('no device of this host holds the VTEP address');
    expect(reconciler.programmedRevision).toBe(0);
  });
});

describe('its figures', () => {
  test('tell for how long a change waits, and that none does once it is programmed', async () => {
    const { reconciler, clock } = make(filled());
    expect(reconciler.figures().behindMs).toBe(0);
    reconciler.setDesired(desired());
    clock.now += 700;
    reconciler.setDesired(desired({ revision: 2 }));
    clock.now += 300;
    expect(reconciler.figures()).toMatchObject({ behindMs: 1000, programmedRevision: 0, operations: 0 });
    await reconciler.pass();
    const { operations, ...figures } = reconciler.figures();
    expect(figures).toMatchObject({ behindMs: 0, programmedRevision: 2, driftRepairs: 0 });
    expect(operations).toBeGreaterThan(0);
    expect(figures.passes.counts.reduce((sum, count) => sum + count)).toBe(1);
    expect(figures.scopes).toContainEqual({ kind: 'host', state: 'programmed', count: 1 });
  });

  test('count from a change that came while a pass was under way', async () => {
    const kernel = filled();
    const { reconciler, clock } = make(kernel);
    reconciler.setDesired(desired());
    const pass = reconciler.pass();
    await new Promise(setImmediate);
    clock.now += 50;
    reconciler.setDesired(desired({ revision: 2 }));
    await pass;
    clock.now += 20;
    expect(reconciler.figures()).toMatchObject({ programmedRevision: 1, behindMs: 20 });
    await reconciler.pass();
    expect(reconciler.figures()).toMatchObject({ programmedRevision: 2, behindMs: 0 });
  });

  test('count what failed, by kind, and tell that it waits still', async () => {
    const kernel = filled();
    kernel.broken.add('host');
    const { reconciler, clock } = make(kernel);
    reconciler.setDesired(desired());
    await reconciler.pass();
    clock.now += 10_000;
    await reconciler.pass();
    const { failures, scopes, behindMs } = reconciler.figures();
    expect([...failures]).toEqual([['host', 2]]);
    expect(scopes).toContainEqual({ kind: 'host', state: 'failing', count: 1 });
    expect(behindMs).toBe(10_000);
  });
});

function filled(): ModelKernel {
  const kernel = new ModelKernel('ipvs');
  fillBox(kernel);
  return kernel;
}
