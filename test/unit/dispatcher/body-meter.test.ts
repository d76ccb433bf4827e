/** Where the body of a request ends, whatever pieces it comes in. */
import { expect, test } from 'vitest';
import { BodyMeter } from '../../../src/controlplane/dockerd/body-meter.js';

const chunked = { 'transfer-encoding': 'chunked' };
const next = 'POST /containers/create HTTP/1.1\r\n\r\n';

test.each([
  ['none', {}, '', next],
  ['of a length', { 'content-length': '4' }, 'abcd', next],
  ['of no length', { 'content-length': '0' }, '', next],
  ['of no chunks', chunked, '0\r\n\r\n', next],
  ['of chunks', chunked, '3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n', next],
  ['of a chunk without its end', chunked, '3\r\nabcP', next.slice(1)],
  ['with a size in another form', chunked, '0x3\r\n', 'abc'],
  ['with an extension of a chunk', chunked, '3;name="va', 'lue"\r\nabc'],
  ['with trailers', chunked, '0\r\nX', '-Name: value\r\n\r\n'],
  ['with bare line feeds', chunked, '3\nabc\n0\n\nP', next.slice(1)],
])('a body %s', (_, headers, body, rest) => {
  const whole = Buffer.from(body + rest);
  for (const size of [1, 2, 3, whole.length]) {
    const meter = new BodyMeter(headers);
    let taken = 0;
    for (let at = 0; at < whole.length && !meter.isOver; at += size)
      taken += meter.take(whole.subarray(at, at + size));
    expect(whole.toString('utf8', 0, taken)).toBe(body);
    expect(meter.isOver).toBe(true);
  }
});
