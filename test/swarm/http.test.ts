/**
 * The script of ./http asked of Docker's own Swarm: its answers are kept beside the script, for the tests that have no Swarm to ask.
 * SKEP_UPDATE=1 keeps them anew.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import { ask } from './http/ask.js';
import { differences } from './http/differences.js';
import { keepAnswers, keptAnswers } from './http/kept.js';
import { play } from './http/play.js';
import { script } from './http/script.js';

test('what is kept of Swarm is what Swarm answers', async () => {
  await using lab = await ManagedLab.create('swarm', 'test-swarm-http', 2);
  const { headers } = await ask(lab.socketOf('node1'), { method: 'GET', target: '/_ping', headers: {} });
  const version = headers['api-version'] ?? '';
  const answers = await play(lab, script, new Map([['api', version]]));
  if (process.env.SKEP_UPDATE === '1') keepAnswers(version, answers);
  const kept = keptAnswers(version);
  expect(kept?.size).toBe(answers.size);
  expect(differences(answers, kept!)).toEqual([]);
});
