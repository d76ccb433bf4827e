/** The life of the `ebpf` engine's maps: loaded when needed, given back when the node leaves, loaded anew when it is back. */
import { describe, expect, test } from 'vitest';
import { EbpfEngine } from '../../../../src/dataplane/balancer/ebpf.js';
import { chooseEngine } from '../../../../src/dataplane/balancer/choose.js';
import type { EngineChoice } from '../../../../src/dataplane/balancer/choose.js';
import type { BalancerObject, LinkIndices, Program } from '../../../../src/dataplane/balancer/engine.js';
import type { NodeTables } from '../../../../src/dataplane/balancer/node-tables.js';
import { KernelError } from '../../../../src/dataplane/kernel/kernel-error.js';
import { applyToImage } from '../../../../src/dataplane/plan/diff.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import type { Vni } from '../../../../src/model/ids.js';
import { programTags } from '../plan/network-state.js';

/** Pins as a map of scopes, and how often they were loaded and closed. */
class ModelPins {
  scopes = new Map<number, BalancerObject[]>();
  loads = 0;
  open = 0;

  load = (): NodeTables => {
    this.loads += 1;
    this.open += 1;
    const programs = Object.entries(programTags).map(([name, tag], index): [string, Program] => [
      name,
      { fd: index, tag, id: index, reusedMaps: this.loads > 1 },
    ]);
    return {
      programs: new Map(programs),
      view: (vni) => ({
        observe: async () => this.scopes.get(vni ?? 0) ?? [],
        apply: async (ops) => {
          const image = applyToImage(this.scopes.get(vni ?? 0) ?? [], ops) as BalancerObject[];
          this.scopes.set(vni ?? 0, image);
        },
        refresh: async () => false,
        counters: async () => [],
        flows: async () => [],
        [Symbol.dispose]: () => undefined,
      }),
      overlays: () => [...this.scopes.keys()].filter((vni) => vni !== 0) as Vni[],
      forget: async (vni) => void this.scopes.delete(vni),
      expireFlows: async () => 7,
      remove: async () => this.scopes.clear(),
      [Symbol.dispose]: () => void (this.open -= 1),
    };
  };
}
const links: LinkIndices = { indexOf: async () => null, nameOf: async () => null };
const host = { vni: null, netns: null, links };
const address: BalancerObject = { kind: 'localAddress', address: '192.0.2.1' as never };

describe('the ebpf engine', () => {
  test('gives back all of it when the node leaves, and comes back when it is needed', async () => {
    const pins = new ModelPins();
    using engine = new EbpfEngine(pins.load);
    using table = await engine.open(host);
    await table.apply([{ op: 'add', object: address }]);
    expect((await table.observe(true)).map(line)).toEqual(['local-address 192.0.2.1']);
    await engine.release();
    await engine.release();
    expect([await table.observe(true), await engine.expireFlows(), pins.open, pins.loads]).toEqual([
      [],
      0,
      0,
      1,
    ]);
    await table.apply([{ op: 'add', object: address }]);
    expect([(await table.observe(true)).length, await engine.expireFlows(), pins.loads]).toEqual([1, 7, 2]);
  });

  test('closes what it opened and leaves what is pinned', async () => {
    const pins = new ModelPins();
    {
      using engine = new EbpfEngine(pins.load);
      using table = await engine.open(host);
      await table.apply([{ op: 'add', object: address }]);
    }
    expect([pins.open, pins.scopes.get(0)]).toEqual([0, [address]]);
  });
});

describe('the choice of the engine', () => {
  const choose = (
    choice: EngineChoice,
    openTables: () => NodeTables,
    { hasIpvs = false, ebpfBalances = false, ipvsBalances = false, suitsEbpf = true } = {},
  ) => {
    const failures: string[] = [];
    const chosen = chooseEngine({
      choice,
      hasIpvs: async () => hasIpvs,
      ebpfBalances,
      ipvsBalances: async () => ipvsBalances,
      suitsEbpf: async () => suitsEbpf,
      openTables,
      onNeither: (err) => failures.push(err.message),
    });
    return chosen.then(({ name }) => [name, ...failures]);
  };
  const noBpf = (): NodeTables => {
    throw new KernelError('load', 'ENOSYS');
  };
  test('what is asked for, or an error', async () => {
    expect(await choose('ipvs', noBpf)).toEqual(['ipvs']);
    expect(await choose('ebpf', new ModelPins().load)).toEqual(['ebpf']);
    await expect(choose('ebpf', noBpf)).rejects.toThrow('ENOSYS');
  });

  test('ebpf, and ipvs where the kernel is none for it; neither is said', async () => {
    const { load } = new ModelPins();
    expect(await choose('auto', load, { hasIpvs: true })).toEqual(['ebpf']);
    expect(await choose('auto', load, { hasIpvs: true, suitsEbpf: false })).toEqual(['ipvs']);
    expect(await choose('auto', load, { suitsEbpf: false })).toEqual(['ebpf']);
    const [name, failure] = await choose('auto', noBpf);
    expect([name, failure?.includes('ENOSYS')]).toEqual(['ipvs', true]);
  });

  test('ipvs that balances already stays, and no process is started to find that out', async () => {
    expect(await choose('auto', noBpf, { hasIpvs: true, ipvsBalances: true })).toEqual(['ipvs']);
  });

  test('ebpf that balances already stays, though somebody loaded IPVS meanwhile', async () => {
    expect(await choose('auto', new ModelPins().load, { hasIpvs: true, ebpfBalances: true })).toEqual([
      'ebpf',
    ]);
  });
});
