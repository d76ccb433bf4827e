/** A lab whose nodes install a package: what a node is told, and which packages are refused before anything is made. */
import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Lab, checkout } from '../../../src/lab/lab.js';
import { labPaths, nodeLayout } from '../../../src/lab/layout.js';
import { nodeEnvironment } from '../../../src/lab/machine.js';

const paths = labPaths('unit-package');

test.each([
  ['the package', `${checkout}/dist-package/skep_1.0.0_amd64.deb`],
  ['nothing, where the checkout’s daemons run', undefined],
])('a node is told of %s', (_, file) => {
  const environment = nodeEnvironment({
    ...{ paths, node: nodeLayout(paths, 1), checkout, swarmMode: false, package: file },
    ...{ balancer: undefined, allow: undefined, engine: undefined },
  });
  expect(environment['SKEP_LAB_PACKAGE']).toBe(file);
});

test.each([
  [`${checkout}/no-such.deb`, 'there is no package'],
  ['/run/skep.deb', 'nodes see the machine’s directories but /tmp and /run'],
  ['skep.deb', 'nodes see the machine’s directories but /tmp and /run'],
])('%s is refused', async (file, words) => {
  const up = Lab.up({ name: 'unit-package', nodes: 1, package: file, progress: () => undefined });
  await expect(up).rejects.toThrow(words);
  expect(existsSync(paths.run)).toBe(false);
});
