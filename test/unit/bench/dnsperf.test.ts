/** What the benches' asker of names says, read. */
import { expect, test } from 'vitest';
import { resultOf } from '../../../bench/dns/dnsperf-result.js';

const text = (lost: string, codes: string): string => `DNS Performance Testing Tool
> NOERROR web A 0.000250
> NOERROR web A 0.001250
> NOERROR web A 0.000300
Statistics:

  Queries sent:         3
  Queries completed:    3 (100.00%)
  Queries lost:         ${lost}

  Response codes:       ${codes}
  Average packet size:  request 21, response 37
  Run time (s):         3.000100
  Queries per second:   41174.314372
`;

test('rate and percentiles', () => {
  const result = resultOf('x', text('0 (0.00%)', 'NOERROR 3 (100.00%)'));
  expect(result).toEqual({ queriesPerS: 41174.314372, p50Ms: 0.3, p99Ms: 1.25 });
});

test.each([
  ['1 (25.00%)', 'NOERROR 3 (100.00%)'],
  ['0 (0.00%)', 'NOERROR 2 (66.67%), SERVFAIL 1 (33.33%)'],
])('a run with failures is none: %s lost, %s', (lost, codes) => {
  expect(() => resultOf('x', text(lost, codes))).toThrow('Queries lost');
});
