/** docs/packet-walk.md says of the `ipvs` engine what a kernel holds once it is programmed. */
import { expect, test } from 'vitest';
import { documentedPacketWalk } from '../support/packet-walk.js';
import { buildGuestProgram } from './guest-program.js';
import { runScenario } from './user-mode-linux.js';

test('docs/packet-walk.md is true of ipvs; if not: npm run docs:packet-walk', async () => {
  await using program = await buildGuestProgram();
  const reports = await runScenario(program.path('test/support/packet-walk-guest.ts'), 170_000);
  const text = reports.find((report) => 'text' in report)?.['text'];
  expect(await documentedPacketWalk('ipvs', String(text))).toBe(text);
});
