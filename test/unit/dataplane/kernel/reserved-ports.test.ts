import { expect, test } from 'vitest';
import { formatPorts, parsePorts } from '../../../../src/dataplane/kernel/reserved-ports.js';

test.each<[text: string, ports: number[]]>([
  ['', []],
  ['53', [53]],
  ['53,8080-8082,8090', [53, 8080, 8081, 8082, 8090]],
  ['1-2,65535', [1, 2, 65_535]],
])('%j is a list of the kernel', (text, ports) => {
  expect([...parsePorts(text)]).toEqual(ports);
  expect(formatPorts(new Set(ports.reverse()))).toBe(text);
});
