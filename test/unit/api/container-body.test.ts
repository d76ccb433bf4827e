/** Requests about containers as they come, and as the engine is to see them. */
import { describe, expect, test } from 'vitest';
import type { AttachedNetwork } from '../../../src/controlplane/attach-control.js';
import {
  attachedCreate,
  attachedEndpoint,
  networksOfCreate,
  wantedOfCreate,
} from '../../../src/controlplane/api/container-body.js';
import { formatJson, parseJson } from '../../../src/controlplane/api/convert/json.js';
import type { Json } from '../../../src/controlplane/api/convert/json.js';

const json = (value: unknown): Json =>
  parseJson(typeof value === 'string' ? value : JSON.stringify(value), {
    truncated: 'unexpected EOF',
    allowTrailing: false,
  });
const plain = (value: Json): unknown => JSON.parse(formatJson(value));
const create = (mode: string, endpoints?: object): Json =>
  json({
    Image: 'busybox',
    HostConfig: { NetworkMode: mode },
    ...(endpoints ? { NetworkingConfig: { EndpointsConfig: endpoints } } : {}),
  });
const place = (over: Partial<AttachedNetwork> = {}): AttachedNetwork => ({
  attachmentId: 'a1',
  networkId: 'n1',
  networkName: 'open',
  address: '10.5.0.7',
  ownAddress: '10.5.0.2',
  engineNetworkId: 'e1',
  ...over,
});

test.each<[string, Json, string[]]>([
  ['none', json({ Image: 'x' }), []],
  ['the engine’s modes', create('bridge', { bridge: {} }), []],
  ['another container’s', create('container:c1'), []],
  ['by mode alone, as an old CLI has it', create('open'), ['open']],
  ['by mode and endpoint, as a new one has it', create('open', { open: {} }), ['open']],
  ['by endpoint alone, as compose has it', create('', { default: {}, open: null }), ['open']],
  ['several, the mode’s first', create('b', { a: {}, b: {} }), ['b', 'a']],
  ['in any case, as Go reads it', json({ hostconfig: { networkmode: 'open' } }), ['open']],
])('networks of a container: %s', (_, body, networks) => {
  expect(networksOfCreate(body)).toEqual(networks);
});

test.each<[string, Json, object]>([
  ['nothing', create('open'), { address: '', aliases: [] }],
  [
    'an address and aliases',
    create('open', { open: { IPAMConfig: { IPv4Address: '10.5.0.9' }, Aliases: ['db', 'sql'] } }),
    { address: '10.5.0.9', aliases: ['db', 'sql'] },
  ],
  ['nulls', create('open', { open: { IPAMConfig: null, Aliases: null } }), { address: '', aliases: [] }],
])('wanted: %s', (_, body, wanted) => {
  expect(wantedOfCreate(body, 'open')).toEqual(wanted);
});

test.each<[string, Json, RegExp]>([
  ['a MAC of the endpoint', create('open', { open: { MacAddress: '02:00:00:00:00:01' } }), /MAC addresses/],
  [
    'a MAC of the container',
    json({ MacAddress: '02:00:00:00:00:01', HostConfig: { NetworkMode: 'open' } }),
    /MAC/,
  ],
  ['IPv6', create('open', { open: { IPAMConfig: { IPv6Address: 'fd00::1' } } }), /no IPv6/],
])('refused: %s', (_, body, text) => {
  expect(() => wantedOfCreate(body, 'open')).toThrow(text);
});

describe('what the engine is told', () => {
  test('the allocated address, our DNS, the name that the engine knows, the aliases as an option', () => {
    const body = json({
      Image: 'busybox',
      HostConfig: { NetworkMode: 'n1', Dns: ['9.9.9.9'], Binds: ['/a:/b'] },
      NetworkingConfig: {
        EndpointsConfig: {
          n1: {
            IPAMConfig: { LinkLocalIPs: ['169.254.1.1'] },
            Aliases: ['db', 'sql'],
            NetworkID: 'n1',
            Links: null,
          },
        },
      },
    });
    expect(plain(attachedCreate(body, new Map([['n1', place()]])))).toEqual({
      Image: 'busybox',
      HostConfig: { NetworkMode: 'open', Dns: ['10.5.0.2', '9.9.9.9'], Binds: ['/a:/b'] },
      NetworkingConfig: {
        EndpointsConfig: {
          open: {
            IPAMConfig: { LinkLocalIPs: ['169.254.1.1'], IPv4Address: '10.5.0.7' },
            DriverOpts: { 'skep.aliases': 'db,sql' },
            Links: null,
          },
        },
      },
    });
  });

  test('the engine’s own networks as they were', () => {
    const body = create('mine', { mine: { Aliases: ['x'] }, open: {} });
    expect(plain(attachedCreate(body, new Map([['open', place()]])))).toEqual({
      Image: 'busybox',
      HostConfig: { NetworkMode: 'mine', Dns: ['10.5.0.2'] },
      NetworkingConfig: {
        EndpointsConfig: { mine: { Aliases: ['x'] }, open: { IPAMConfig: { IPv4Address: '10.5.0.7' } } },
      },
    });
  });

  test('an endpoint’s options beside the aliases', () => {
    const endpoint = json({ Aliases: ['db'], DriverOpts: { mine: 'x' } });
    expect(plain(attachedEndpoint(endpoint, place()))).toEqual({
      IPAMConfig: { IPv4Address: '10.5.0.7' },
      DriverOpts: { mine: 'x', 'skep.aliases': 'db' },
    });
    expect(plain(attachedEndpoint(undefined, place()))).toEqual({ IPAMConfig: { IPv4Address: '10.5.0.7' } });
  });

  test('numbers beyond JavaScript’s, escapes and the order of lists as they were written', () => {
    const text =
      '{"HostConfig":{"NetworkMode":"open","Memory":9223372036854775807,"Ulimits":[1.0,-1]},"Env":["a=\\u0000\\n\\"é"]}';
    const rewritten = formatJson(attachedCreate(json(text), new Map([['open', place()]])));
    expect(rewritten).toContain('"Memory":9223372036854775807');
    expect(rewritten).toContain('"Ulimits":[1.0,-1]');
    expect((JSON.parse(rewritten) as { Env: string[] }).Env).toEqual(
      (JSON.parse(text) as { Env: string[] }).Env,
    );
  });
});
