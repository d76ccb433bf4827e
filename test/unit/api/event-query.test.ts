/** Which events a query lets through; as dockerd 20.10.24 answers the same queries. */
import { expect, test } from 'vitest';
import { eventRange, wantsEvent } from '../../../src/controlplane/api/event-query.js';
import { Filters } from '../../../src/controlplane/api/filters.js';
import { formatUnixNano } from '../../../src/controlplane/api/unix-time.js';

const events = {
  'service web': {
    Type: 'service',
    Action: 'update',
    scope: 'swarm',
    Actor: { ID: 'ix4cwmpmgfxw', Attributes: { name: 'web', 'updatestate.new': 'updating' } },
  },
  'node node1': {
    Type: 'node',
    Action: 'remove',
    scope: 'swarm',
    Actor: { ID: 'khacpiqvdo1j', Attributes: { name: 'node1' } },
  },
  'container web.1': {
    Type: 'container',
    Action: 'exec_create: sh -c true',
    scope: 'local',
    Actor: {
      ID: 'b1e049e974d0',
      Attributes: { name: 'web.1.abc', image: 'reg:5000/skep/whoami:lab', color: 'red' },
    },
  },
  'image whoami': {
    Type: 'image',
    Action: 'pull',
    scope: 'local',
    Actor: { ID: 'skep/whoami:lab', Attributes: { name: 'skep/whoami' } },
  },
};
const all = Object.keys(events);

test.each<[filters: Record<string, string[]>, passed: string[]]>([
  [{}, all],
  [{ nosuch: ['a'] }, all],
  [{ type: ['service', 'image'] }, ['service web', 'image whoami']],
  [{ scope: ['swarm'] }, ['service web', 'node node1']],
  [{ event: ['update', 'pull'] }, ['service web', 'image whoami']],
  [{ event: ['exec'] }, []],
  [{ event: ['exec_create'] }, ['container web.1']],
  // By id or name, both by prefix, and of whatever type: dockerd's way to show a service's containers.
  [{ service: ['web'] }, ['service web', 'container web.1']],
  [{ service: ['ix4'] }, ['service web']],
  [{ daemon: ['n'] }, ['node node1']],
  [{ node: ['node1', 'node2'] }, ['node node1']],
  [{ service: ['web'], type: ['container'] }, ['container web.1']],
  [{ container: ['b1e0'] }, ['container web.1']],
  [{ image: ['skep/whoami'] }, ['image whoami']],
  [{ image: ['skep/whoami:lab'] }, ['image whoami']],
  [{ image: ['reg:5000/skep/whoami'] }, ['container web.1']],
  [{ image: ['reg'] }, []],
  [{ label: ['name=web'] }, ['service web']],
  [{ label: ['updatestate.new'] }, ['service web']],
  [{ label: ['color=red', 'image'] }, ['container web.1']],
  [{ label: ['color=blue'] }, []],
])('%j', (asked, passed) => {
  const filters = new Filters(new Map(Object.entries(asked)));
  const wanted = Object.entries(events).filter(([, event]) => wantsEvent(filters, event));
  expect(wanted.map(([name]) => name)).toEqual(passed);
});

test.each<[query: string, range: readonly [string, string] | 'refused']>([
  ['', ['', '']],
  ['since=5', ['5.000000000', '']],
  ['since=5.25&until=1795230246.574156115', ['5.250000000', '1795230246.574156115']],
  ['until=7', ['', '7.000000000']],
  ['since=-1', ['', '']],
  ['since=5&until=5', ['5.000000000', '5.000000000']],
  ['since=5&until=1', 'refused'],
  ['since=x', 'refused'],
  ['since=1.5.6', 'refused'],
  ['until=2026-11-22T10:00:00Z', 'refused'],
])('%s', (query, expected) => {
  const range = eventRange(new URLSearchParams(query));
  const text = (nano: bigint | undefined): string => (nano === undefined ? '' : formatUnixNano(nano));
  expect(range ? [text(range.sinceNano), text(range.untilNano)] : 'refused').toEqual(expected);
});
