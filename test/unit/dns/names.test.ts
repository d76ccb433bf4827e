/** Names that follow the changes of a state, drawn from a seed, are the names of the state as it is then. */
import { expect, test } from 'vitest';
import { NameIndex } from '../../../src/dataplane/dns/names.js';
import type { Resolution } from '../../../src/dataplane/dns/resolve.js';
import { resolve } from '../../../src/dataplane/dns/resolve.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import { changed, emptyNetwork, random } from '../dataplane/plan/changing-network.js';

const seed = Number(process.env['SKEP_SEED'] ?? 20_263);

/** All that anybody could ask of a state. */
function questions(state: NodeNetworkState): Set<string> {
  const asked = new Set<string>();
  for (const { name: network, services, endpoints } of state.overlays) {
    for (const { name, aliases, vip } of services) {
      for (const one of [name, ...aliases]) asked.add(one).add(`tasks.${one}`).add(`${one}.${network}`);
      if (vip) asked.add(reverse(vip));
    }
    for (const { name, aliases, address } of endpoints)
      for (const one of [name, ...aliases, reverse(address)]) asked.add(one);
  }
  return asked;
}

const reverse = (address: string): string => `${address.split('.').reverse().join('.')}.in-addr.arpa`;

/** What is answered to everybody, whatever the order of several addresses. */
function answers(names: NameIndex, state: NodeNetworkState, asked: ReadonlySet<string>): unknown {
  const sorted = (resolution: Resolution): unknown =>
    resolution.kind === 'answer' ? resolution.records.map(({ data }) => data).sort() : resolution.kind;
  const askers = [
    names.askerWith(state.overlays.map(({ id }) => id)),
    ...state.overlays.flatMap(({ id, endpoints }) =>
      endpoints.map(({ address }) => names.askerAt(id, address)),
    ),
  ];
  return askers.map((asker) =>
    [...asked].map((name) => {
      const type = name.endsWith('.arpa') ? 'PTR' : 'A';
      return `${name}: ${JSON.stringify(sorted(resolve({ name, type }, asker, 0)))}`;
    }),
  );
}

test(`after any change the names are those of the state (seed ${seed})`, () => {
  const next = random(seed);
  let joined = emptyNetwork();
  const names = new NameIndex(joined.state);
  let answered = 0;
  for (let step = 0; step < 300; step++) {
    const before = questions(joined.state);
    joined = changed(joined, next, true);
    const asked = new Set([...before, ...questions(joined.state)]);
    names.change(joined.state);
    const found = answers(names, joined.state, asked);
    expect(found).toEqual(answers(new NameIndex(joined.state), joined.state, asked));
    answered += JSON.stringify(found).split('[').length;
  }
  expect(answered).toBeGreaterThan(10_000);
});
