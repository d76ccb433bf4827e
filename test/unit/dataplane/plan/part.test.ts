/** A part's plans differ as the whole plans do, whatever changes; the walks are drawn from a seed. */
import { describe, expect, test } from 'vitest';
import { engineNames } from '../../../../src/dataplane/plan/balancing.js';
import { diff, opLine } from '../../../../src/dataplane/plan/diff.js';
import { planHostScope, planOverlayScope, planSandboxScope } from '../../../../src/dataplane/plan/node.js';
import type { KernelObject, Link } from '../../../../src/dataplane/plan/objects.js';
import { isOfOneItem, partialChange } from '../../../../src/dataplane/plan/part.js';
import { difference } from '../../../../src/runtime/keyed-list.js';
import { shareState } from '../../../../src/dataplane/share-state.js';
import { engines } from '../reconcile/model-kernel.js';
import type { Joined } from './changing-network.js';
import { changed, copyOf, emptyNetwork, endpointOf, random } from './changing-network.js';
import { ingressId, mynetId, stateOf } from './network-state.js';

const seed = Number(process.env['SKEP_SEED'] ?? 20_260);

/** Everything that would be done to a kernel that equals the first plan, in order. */
const ops = (before: readonly KernelObject[], after: readonly KernelObject[]) =>
  diff(after, before, () => true);

for (const engine of engineNames)
  test(`with ${engine} a part differs as the whole does (seed ${seed})`, () => {
    const balancing = engines[engine].plan;
    const plansOf = ({ state, sandboxes }: Joined, all: Joined): Map<string, readonly KernelObject[]> =>
      new Map([
        ...state.overlays.map((overlay): [string, readonly KernelObject[]] => [
          overlay.id,
          planOverlayScope({ state, sandboxes }, overlay, 1450, balancing).objects,
        ]),
        ['host', planHostScope(state, 1450, balancing, []).objects],
        // A container's plan has its legs, whatever of the rest is in the part.
        ...['/run/netns/one', '/run/netns/two'].map((path): [string, readonly KernelObject[]] => {
          const legs = all.sandboxes.filter(({ sandboxKey }) => sandboxKey === path);
          const links = legs.map(({ mac }): Link => ({ kind: 'link', name: mac, mac }));
          return [path, planSandboxScope(state, path, legs, links, 1500).objects];
        }),
      ]);
    const next = random(seed);
    const count = { same: 0, parts: 0, common: 0, whole: 0 };
    for (let walk = 0; walk < 40; walk++) {
      let before = emptyNetwork();
      for (let step = 0; step < 40; step++) {
        const after = changed(before, next, true);
        const part = partialChange(before, after);
        const whole = { before: plansOf(before, before), after: plansOf(after, after) };
        if (part === null) count.whole += 1;
        else {
          const parts = { before: plansOf(part.before, before), after: plansOf(part.after, after) };
          for (const [name, objects] of whole.after) {
            const isOther =
              name === 'host' ? part.ingressIsOther : [...part.others].some((id) => id === name);
            const isContainer = name.startsWith('/');
            if (isOther || (isContainer && (part.sandboxPaths.has(name) || part.others.size > 0))) {
              count.whole += 1;
              continue;
            }
            const expected = ops(whole.before.get(name) ?? [], objects).map(opLine);
            const found = ops(parts.before.get(name) ?? [], parts.after.get(name) ?? []);
            if (found.length === 0) count.same += 1;
            else if (isContainer || !found.every(isOfOneItem)) {
              count.common += 1;
              continue;
            } else count.parts += 1;
            const texts = found.map(opLine);
            if (texts.sort().join() !== expected.sort().join())
              expect(texts, `walk ${walk}, step ${step}, ${name}`).toEqual(expected);
          }
        }
        before = after;
      }
    }
    // The walks lead everywhere.
    expect(Math.min(...Object.values(count)), JSON.stringify(count)).toBeGreaterThan(10);
    expect(count.parts, JSON.stringify(count)).toBeGreaterThan(count.common);
  }, 20_000); // thousands of plans

describe('partialChange', () => {
  test('has of five thousand endpoints those of the service that differs, and one of another', () => {
    const state = stateOf(1, { ingress: true, tasks: [], vips: {} });
    const overlays = state.overlays.map((overlay) => ({
      ...overlay,
      endpoints: Array.from({ length: 5000 }, (_, index) => ({
        ...endpointOf({ part: 3, node: 2, service: `s${Math.floor(index / 10)}` }),
        taskId: `t${index}` as never,
        address: `10.9.${index >> 8}.${index & 255}` as never,
        mac: `02:00:00:00:${(index >> 8).toString(16)}:${index & 255}` as never,
      })),
      services: Array.from({ length: 500 }, (_, index) => ({
        id: `s${index}` as never,
        name: `s${index}`,
        aliases: [],
        vip: `10.8.0.${index}` as never,
        scheduler: 'rr' as const,
        affinityS: null,
      })),
    }));
    const before = { state: { ...state, overlays }, sandboxes: [] };
    const mynet = overlays.map((overlay) =>
      overlay.id === mynetId
        ? {
            ...overlay,
            endpoints: overlay.endpoints.map((one, index) =>
              index === 1234 ? { ...one, serving: false } : one,
            ),
          }
        : overlay,
    );
    const part = partialChange(before, { state: { ...state, overlays: mynet }, sandboxes: [] });
    const sizes = part?.after.state.overlays.map(({ id, endpoints, services }) => [
      id,
      endpoints.length,
      services.length,
    ]);
    expect(sizes).toEqual([
      [ingressId, 0, 0],
      [mynetId, 11, 2],
    ]);
  });

  test('is null when what everything hangs on differs, and when a node joins or leaves', () => {
    const { state, sandboxes } = emptyNetwork();
    const moved = { state: { ...state, vtep: '192.168.50.7' as never }, sandboxes };
    expect(partialChange({ state, sandboxes }, moved)).toBeNull();
    expect(partialChange({ state, sandboxes }, { state: null, sandboxes })).toBeNull();
    expect(partialChange({ state: null, sandboxes }, { state, sandboxes })).toBeNull();
  });
});

describe('shareState', () => {
  test(`gives an equal value of which only what differs is new (seed ${seed})`, () => {
    const next = random(seed);
    let { state: held } = emptyNetwork();
    for (let step = 0; step < 200; step++) {
      const { state } = changed({ state: held, sandboxes: [] }, next);
      const apart = copyOf(state);
      const shared = shareState(held, apart);
      expect(shared).toEqual(apart);
      expect(shareState(shared, copyOf(apart))).toBe(shared);
      for (const overlay of shared.overlays) {
        const was = held.overlays.find(({ id }) => id === overlay.id);
        if (was === undefined) continue;
        const { gone, come } = difference(was.endpoints, overlay.endpoints);
        for (const one of come) expect(gone).not.toContainEqual(one);
      }
      held = shared;
    }
  });
});
