/** DNS messages: our bytes as another implementation reads them; what is cut, kept and counted down. */
import dnsPacket from 'dns-packet';
import { describe, expect, test } from 'vitest';
import {
  asAnswerTo,
  cacheKey,
  ForwardCache,
  repeatsQuestion,
} from '../../../src/dataplane/dns/forward-cache.js';
import { parseResolvConf } from '../../../src/dataplane/dns/forwarder.js';
import type { DnsRecord } from '../../../src/dataplane/dns/resolve.js';
import type { DnsQuery } from '../../../src/dataplane/dns/wire.js';
import {
  fitUdp,
  formatAnswer,
  formatFailure,
  parseQuery,
  ttlOffsets,
} from '../../../src/dataplane/dns/wire.js';

interface Ask {
  readonly name?: string;
  readonly id?: number;
  readonly udpBytes?: number;
  readonly ednsVersion?: number;
}

const message = ({ name = 'tasks.web', id = 4711, udpBytes, ednsVersion = 0 }: Ask): Buffer =>
  dnsPacket.encode({
    type: 'query',
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: 'A', name }],
    additionals:
      udpBytes === undefined
        ? []
        : [
            {
              type: 'OPT',
              name: '.',
              udpPayloadSize: udpBytes,
              extendedRcode: 0,
              ednsVersion,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ],
  });

function query(ask: Ask = {}): DnsQuery {
  const parsed = parseQuery(message(ask));
  if (parsed.kind !== 'query') throw new Error(parsed.kind);
  return parsed.query;
}

const tasks = (count: number): DnsRecord[] =>
  Array.from({ length: count }, (_, i) => ({ type: 'A', data: `10.0.1.${i + 1}` }));

describe('queries', () => {
  test('a question, case kept', () => {
    expect(query({ name: 'WeB' }).question).toEqual({ name: 'WeB', type: 'A', class: 'IN' });
    expect(query().udpBytes).toBe(512);
    expect(query({ udpBytes: 4096 })).toMatchObject({ edns: true, udpBytes: 1232 });
    expect(query({ udpBytes: 100 }).udpBytes).toBe(512);
  });

  test.each<[string, Buffer, string, number?]>([
    ['too short', Buffer.alloc(11), 'drop'],
    ['an answer', dnsPacket.encode({ type: 'response', questions: [{ type: 'A', name: 'x' }] }), 'drop'],
    ['no question', dnsPacket.encode({ type: 'query', id: 3 }), 'refuse', 1],
    ['cut short', message({}).subarray(0, 20), 'refuse', 1],
    ['a name that points at itself', Buffer.from('000101000001000000000000c00c00010001', 'hex'), 'refuse', 1],
    ['a notify', Buffer.from('000120000001000000000000017800000100 01'.replace(' ', ''), 'hex'), 'refuse', 4],
  ])('%s', (_what, bytes, kind, rcode) => {
    const parsed = parseQuery(bytes);
    expect(parsed.kind).toBe(kind);
    if (parsed.kind === 'refuse') {
      expect(parsed.response.readUInt16BE(0)).toBe(bytes.readUInt16BE(0));
      expect(parsed.response.readUInt16BE(2) & 0x800f).toBe(0x8000 | (rcode ?? 0));
    }
  });
});

test('a version of EDNS that is not known yet is refused in words of the one that is', () => {
  const parsed = parseQuery(message({ udpBytes: 4096, ednsVersion: 1 }));
  if (parsed.kind !== 'refuse') throw new Error(parsed.kind);
  // BADVERS is 16: its lower four bits stand in the header, the others in the OPT record.
  expect(dnsPacket.decode(parsed.response)).toMatchObject({
    rcode: 'NOERROR',
    questions: [{ name: 'tasks.web' }],
    additionals: [{ type: 'OPT', extendedRcode: 1, ednsVersion: 0 }],
  });
});

describe('answers', () => {
  test('every type, as dns-packet reads it', () => {
    const records: DnsRecord[] = [
      { type: 'A', data: '10.0.1.2' },
      { type: 'AAAA', data: 'fd00:1::2' },
      { type: 'PTR', data: 'web.1.t1.front' },
    ];
    const answer = dnsPacket.decode(formatAnswer(query({ udpBytes: 1232 }), records, 2, 1232));
    expect(answer).toMatchObject({
      id: 4711,
      type: 'response',
      rcode: 'NOERROR',
      flag_tc: false,
      flag_rd: true,
    });
    expect(answer.questions).toEqual([{ name: 'tasks.web', type: 'A', class: 'IN' }]);
    const common = { name: 'tasks.web', ttl: 2, class: 'IN', flush: false };
    expect(answer.answers).toEqual([
      { ...common, type: 'A', data: '10.0.1.2' },
      { ...common, type: 'AAAA', data: 'fd00:1::2' },
      { ...common, type: 'PTR', data: 'web.1.t1.front' },
    ]);
    expect(answer.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }]);
  });

  test.each([
    ['fits', 29, 512, 29, false],
    ['one too many', 31, 512, 30, true],
    ['by TCP', 200, 65_535, 200, false],
    ['none', 0, 512, 0, false],
  ])('%s', (_what, count, bytesMax, kept, truncated) => {
    const bytes = formatAnswer(query(), tasks(count), 2, bytesMax);
    expect(bytes.length).toBeLessThanOrEqual(bytesMax);
    const answer = dnsPacket.decode(bytes);
    expect(answer.answers).toHaveLength(kept);
    expect(answer.flag_tc).toBe(truncated);
  });

  test.each([
    ['fits', 20, false],
    ['too long for UDP: its head, and the bit that sends the client to TCP', 60, true],
  ])('of a resolver, %s', (_what, count, cut) => {
    const asking = query();
    const response = fitUdp(asking, formatAnswer(asking, tasks(count), 2, 65_535));
    expect(response.length).toBeLessThanOrEqual(512);
    expect(dnsPacket.decode(response)).toMatchObject({ flag_tc: cut, questions: [{ name: 'tasks.web' }] });
    expect(dnsPacket.decode(response).answers).toHaveLength(cut ? 0 : count);
  });

  test('nobody has the name, with the OPT record of the client', () => {
    expect(dnsPacket.decode(formatFailure(query({ udpBytes: 1232 }), 'unknownName'))).toMatchObject({
      rcode: 'NXDOMAIN',
      flag_aa: true,
      additionals: [{ type: 'OPT', udpPayloadSize: 1232 }],
    });
  });

  test('a failure repeats the question', () => {
    expect(dnsPacket.decode(formatFailure(query(), 'serverFailure'))).toMatchObject({
      rcode: 'SERVFAIL',
      questions: [{ name: 'tasks.web' }],
      answers: [],
    });
  });
});

describe('what resolvers said', () => {
  const upstreamAnswer = (ttl: number, flags = dnsPacket.RECURSION_AVAILABLE): Buffer =>
    dnsPacket.encode({
      type: 'response',
      id: 1,
      flags,
      questions: [{ type: 'A', name: 'example.org' }],
      answers: [
        { type: 'A', name: 'example.org', ttl, data: '192.0.2.7' },
        { type: 'A', name: 'example.org', ttl: ttl + 5, data: '192.0.2.8' },
      ],
    });
  const asking = query({ name: 'Example.Org' });
  const key = cacheKey(asking);

  test('is kept for its shortest TTL, counted down, under the new id and case', () => {
    const cache = new ForwardCache();
    cache.set(key, upstreamAnswer(10), 1_000_000, 'asker');
    const kept = cache.get(key, query({ name: 'EXAMPLE.org', id: 99 }), 1_003_400);
    expect(kept && dnsPacket.decode(kept)).toMatchObject({
      id: 99,
      questions: [{ name: 'EXAMPLE.org' }],
      answers: [{ ttl: 7 }, { ttl: 12 }],
    });
    expect(cache.get(key, asking, 1_009_999)).not.toBeNull();
    expect(cache.get(key, asking, 1_010_000)).toBeNull();
    expect(cache.size).toBe(0);
  });

  test.each<[string, Buffer, number]>([
    ['a long TTL is kept 30 s', upstreamAnswer(3600), 29_999],
    ['TTL 0 is not kept', upstreamAnswer(0), -1],
    ['a truncated answer is not kept', upstreamAnswer(60, dnsPacket.TRUNCATED_RESPONSE), -1],
    ['SERVFAIL is not kept', upstreamAnswer(60, 2), -1],
    ['NXDOMAIN is', upstreamAnswer(60, 3), 29_999],
  ])('%s', (_what, response, lastMs) => {
    const cache = new ForwardCache();
    cache.set(key, response, 0, 'asker');
    expect(cache.get(key, asking, Math.max(lastMs, 0)) !== null).toBe(lastMs >= 0);
    expect(cache.get(key, asking, lastMs + 1)).toBeNull();
  });

  test('the oldest gives way', () => {
    const cache = new ForwardCache(2);
    for (const name of ['a', 'b', 'c']) cache.set(name, upstreamAnswer(60), 0, 'asker');
    expect(cache.size).toBe(2);
    expect(cache.get('a', asking, 1)).toBeNull();
    expect(cache.get('c', asking, 1)).not.toBeNull();
  });

  test('whoever asks for many names pushes out his own', () => {
    const cache = new ForwardCache(10, 2);
    cache.set('quiet', upstreamAnswer(60), 0, 'quiet');
    for (const name of ['a', 'b', 'c', 'd']) cache.set(name, upstreamAnswer(60), 0, 'loud');
    expect(['quiet', 'a', 'b', 'c', 'd'].filter((name) => cache.get(name, asking, 1))).toEqual([
      'quiet',
      'c',
      'd',
    ]);
  });

  test('questions alike share a key, others do not', () => {
    expect(cacheKey(query({ name: 'example.ORG', id: 5 }))).toBe(key);
    expect(cacheKey(query({ name: 'example.com' }))).not.toBe(key);
    expect(cacheKey(query({ name: 'example.org', udpBytes: 1232 }))).not.toBe(key);
  });

  test('only an answer to the question counts', () => {
    expect(repeatsQuestion(asking, upstreamAnswer(1))).toBe(true);
    expect(repeatsQuestion(query({ name: 'example.net' }), upstreamAnswer(1))).toBe(false);
    expect(repeatsQuestion(asking, asking.bytes)).toBe(false);
    expect(repeatsQuestion(asking, Buffer.alloc(13))).toBe(false);
  });

  test('the TTLs of a message cut short are not guessed', () => {
    const answer = upstreamAnswer(5);
    expect(() => ttlOffsets(answer.subarray(0, answer.length - 3))).toThrow();
    expect(asAnswerTo(asking, answer).subarray(0, 2)).toEqual(asking.bytes.subarray(0, 2));
  });
});

test.each([
  ['nameserver 192.0.2.53\n', ['192.0.2.53']],
  [
    '# comment\nsearch x\nnameserver 127.0.0.53 # local\nnameserver\t2001:db8::53\n',
    ['127.0.0.53', '2001:db8::53'],
  ],
  ['nameserver fe80::1%eth0\nnameserver nonsense\n', ['fe80::1%eth0']],
  [
    'nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n',
    ['1.1.1.1', '2.2.2.2', '3.3.3.3'],
  ],
  ['', []],
])('resolv.conf %j', (text, addresses) => {
  expect(parseResolvConf(text).map(({ address }) => address)).toEqual(addresses);
});
