/**
 * Nothing in a planner is IPv4-shaped: what is planned for the IPv6 twin of a state is the twin of what is planned for the state,
 * object by object, whatever the state. What the families have differently stands here by name; a planner that takes an
 * address for IPv4's without asking fails.
 */
import { describe, expect, test } from 'vitest';
import type { BalancerPlan } from '../../../../src/dataplane/plan/balancing.js';
import { UnservedFamilyError } from '../../../../src/dataplane/plan/balancing.js';
import { ebpfPlan } from '../../../../src/dataplane/plan/ebpf.js';
import { planEsp } from '../../../../src/dataplane/plan/esp.js';
import { ipvsPlan } from '../../../../src/dataplane/plan/ipvs.js';
import { vxlanOverheadBytes } from '../../../../src/dataplane/plan/mtu.js';
import type { ScopePlan } from '../../../../src/dataplane/plan/node.js';
import { planHostScope, planOverlayScope, planSandboxScope } from '../../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import { joinedInterfaces } from '../../../../src/dataplane/plan/sandbox.js';
import { families } from '../../../../src/model/addresses.js';
import type { Joined } from './changing-network.js';
import { changed, emptyNetwork, random } from './changing-network.js';
import { twinOfObject, twinOfSandboxes, twinOfState } from './ipv6-twin.js';
import { hostOf, programTags, stateOf } from './network-state.js';

const seed = Number(process.env['SKEP_SEED'] ?? 20_261);
const walks = 12;
const steps = 40;
const path = '/run/netns/one';
/** What an IPv6 VXLAN device leaves less of the underlay's MTU. */
const moreOverheadBytes = vxlanOverheadBytes(6) - vxlanOverheadBytes(4);

/** Kernel parameters that a family has and the other has not, or has by another name. */
const ipv6Sysctls: readonly (readonly [path: RegExp, twin: string | null])[] = [
  [/^net\/ipv4\/ip_forward$/, 'net/ipv6/conf/all/forwarding'],
  [/^net\/bridge\/bridge-nf-call-iptables$/, 'net/bridge/bridge-nf-call-ip6tables'],
  [
    /^net\/ipv4\/conf\/.*\/(rp_filter|send_redirects|accept_local|arp_ignore|arp_announce|route_localnet)$/,
    null,
  ],
  // IPVS has one set for both.
  [/^net\/(ipv4\/vs|netfilter)\//, ''],
];
/** And those that only IPv6 has. */
const onlyIpv6 = /^net\/ipv6\/conf\/[^/]+\/(accept_ra|disable_ipv6)$/;

function twinOfPlan(objects: readonly KernelObject[]): string[] {
  return objects.flatMap((object) => {
    if (object.kind !== 'sysctl') return [line(twinOfObject(object))];
    const [, path] = ipv6Sysctls.find(([pattern]) => pattern.test(object.path)) ?? [];
    if (path === undefined) throw new Error(`${object.path}: what is that of IPv6?`);
    return path === null ? [] : [line({ ...object, path: path === '' ? object.path : path })];
  });
}
const planOfTwin = (objects: readonly KernelObject[]): string[] =>
  objects.filter((object) => object.kind !== 'sysctl' || !onlyIpv6.test(object.path)).map(line);

/** Everything that a node plans, by scope. The container has two legs, an address of the engine's, and both legs' interfaces are its. */
function scopesOf(
  { state, sandboxes }: Joined,
  host: readonly KernelObject[],
  engine: BalancerPlan,
  mtu: number,
) {
  const legs = sandboxes.filter(({ sandboxKey }) => sandboxKey === path);
  const inside = legs.flatMap(({ mac, address }, index): KernelObject[] => [
    { kind: 'link', name: `eth${index}`, mac, up: true },
    { kind: 'address', device: `eth${index}`, address, prefixLength: 24 },
  ]);
  const found = [
    ...inside,
    ...host.filter((object) => object.kind === 'address' && object.device === 'docker0'),
  ].map((object): KernelObject =>
    object.kind === 'address' && object.device === 'docker0' ? { ...object, wayOut: true } : object,
  );
  const joined = joinedInterfaces(legs, found, undefined);
  return new Map<string, ScopePlan>([
    ...state.overlays.map((overlay): [string, ScopePlan] => [
      overlay.id,
      planOverlayScope({ state, sandboxes }, overlay, mtu, engine),
    ]),
    ['host', planHostScope(state, mtu, engine, host)],
    ['sandbox', planSandboxScope(state, path, legs, found, mtu, false, joined)],
  ]);
}

/** Random states of a node, from nothing on several times; with what containers' resolvers ask. */
function* walk(): Generator<Joined> {
  const next = random(seed);
  let desired = emptyNetwork();
  for (let step = 0; step < walks * steps; step++) {
    if (step % steps === 0) desired = emptyNetwork();
    desired = changed(desired, next);
    const { state } = desired;
    const overlays = state.overlays.map((overlay) => ({
      ...overlay,
      endpoints: overlay.endpoints.map((endpoint) =>
        endpoint.serviceId === '' ? { ...endpoint, nameservers: ['9.9.9.9' as never] } : endpoint,
      ),
    }));
    yield { ...desired, state: { ...state, overlays } };
  }
}

const twinOfDesired = ({ state, sandboxes }: Joined): Joined => ({
  state: twinOfState(state),
  sandboxes: twinOfSandboxes(sandboxes),
});

/** What no engine has a part in. */
const noEngine: BalancerPlan = { name: 'ebpf', families, planOverlay: () => [], planHost: () => [] };

describe(`the plan of an IPv6 state is that of the IPv4 state with other addresses (seed ${seed})`, () => {
  test('with ipvs', () => {
    for (const desired of walk()) {
      const plans = scopesOf(desired, hostOf(1), ipvsPlan, 1500);
      const twins = scopesOf(
        twinOfDesired(desired),
        hostOf(1).map(twinOfObject),
        ipvsPlan,
        1500 + moreOverheadBytes,
      );
      for (const [name, { objects }] of plans)
        expect(planOfTwin(twins.get(name)?.objects ?? []), name).toEqual(twinOfPlan(objects));
    }
  });

  test('with ebpf all but what it would balance, and it says so', () => {
    const engine = ebpfPlan(programTags);
    const refused = new Set<string>();
    for (const desired of walk()) {
      const plans = scopesOf(desired, hostOf(1), noEngine, 1500);
      const twins = scopesOf(
        twinOfDesired(desired),
        hostOf(1).map(twinOfObject),
        engine,
        1500 + moreOverheadBytes,
      );
      for (const [name, { objects, unserved }] of scopesOf(desired, hostOf(1), engine, 1500)) {
        const twin = twins.get(name);
        expect(planOfTwin(twin?.objects ?? []), name).toEqual(twinOfPlan(plans.get(name)?.objects ?? []));
        expect(unserved).toBeNull();
        if (twin?.unserved) refused.add(twin.unserved.message);
        else
          expect(
            objects.filter(({ kind }) => kind === 'virtualServer'),
            name,
          ).toEqual([]);
      }
    }
    expect([...refused].sort()).toEqual([
      'the ebpf engine does not balance IPv6, the family of network ingress',
      'the ebpf engine does not balance IPv6, the family of network mynet',
    ]);
    const state = twinOfState(stateOf(1, { tasks: [{ part: 3, node: 1 }] }));
    const [mynet] = state.overlays;
    expect(mynet && planOverlayScope({ state, sandboxes: [] }, mynet, 1500, engine).unserved).toBeInstanceOf(
      UnservedFamilyError,
    );
  });

  test('of the protection of encrypted overlays; keys are of the addresses', () => {
    const state = stateOf(1, { keys: [1, 2], sends: 1, nodes: [1, 2, 3] });
    const sender = { epoch: 1, made: [] };
    const plan = (of: typeof state): KernelObject[] =>
      planEsp(of, sender, [], false).objects.map((object) =>
        object.kind === 'espState' ? { ...object, spi: 0 } : object,
      );
    const [planned, twin] = [plan(state), plan(twinOfState(state))];
    expect(planned.filter(({ kind }) => kind === 'espState')).toHaveLength(12);
    expect(twin.map(line)).toEqual(planned.map((object) => line(twinOfObject(object))));
  });
});
