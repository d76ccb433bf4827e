/** What the load generator of the benches says, read. */
import { expect, test } from 'vitest';
import { resultOf } from '../../../bench/harness/wrk-result.js';

const text = (unit: string, more = ''): string => `Running 2s test @ http://192.168.60.1:8081/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.22ms    1.05ms  21.04ms   92.13%
    Req/Sec    28.66k     2.01k   31.52k    80.00%
  Latency Distribution
     50%    0.98ms
     75%    1.31ms
     90%  812.00us
     99%    1.06s
  57130 requests in 2.00s, 9.81MB read
${more}Requests/sec:  28541.20
Transfer/sec:      4.90${unit}B
`;

test.each([
  ['M', 4.9 * 2 ** 20],
  ['K', 4.9 * 2 ** 10],
  ['', 4.9],
])('rates and percentiles, %sB', (unit, bytesPerS) => {
  expect(resultOf('x', text(unit))).toEqual({ requestsPerS: 28541.2, bytesPerS, p50Ms: 0.98, p99Ms: 1060 });
});

test.each(['  Socket errors: connect 0, read 3, write 0, timeout 0\n', '  Non-2xx or 3xx responses: 7\n'])(
  'a run with failures is none: %s',
  (more) => {
    expect(() => resultOf('x', text('M', more))).toThrow('wrk x');
  },
);
