/** docs/metrics.md is what the tables say. With SKEP_UPDATE=1 it is written. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { expect, test } from 'vitest';
import { metricsDocument } from '../../../src/metrics/document.js';

const path = fileURLToPath(new URL('../../../docs/metrics.md', import.meta.url));

test('docs/metrics.md is as the tables have it', async () => {
  const text = await format(metricsDocument(), { ...(await resolveConfig(path)), parser: 'markdown' });
  if (process.env['SKEP_UPDATE'] === '1') writeFileSync(path, text);
  expect(readFileSync(path, 'utf8')).toBe(text);
});
