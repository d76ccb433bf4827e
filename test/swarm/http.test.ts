/**
 * The script of ./http asked of Docker's own Swarm: its answers are kept beside the script, for the tests that have no Swarm to ask.
 * SKEP_UPDATE=1 keeps them anew.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import { compared, newestOf } from './http/compared.js';
import { differences } from './http/differences.js';
import { keepAnswers, keptAnswers } from './http/kept.js';
import { play } from './http/play.js';
import { scriptOf } from './http/script.js';

for (const { lab: of, below, version } of compared)
  test.concurrent(`what is kept of Swarm is what Swarm answers: the ${of} engine`, async () => {
    await using lab = await ManagedLab.create('swarm', `test-swarm-${of}`, 2, below);
    const api = version ?? (await newestOf(lab));
    const answers = await play(lab, scriptOf(api), new Map([['api', api]]));
    if (process.env.SKEP_UPDATE === '1') keepAnswers(api, answers);
    const kept = keptAnswers(api);
    expect(kept?.size).toBe(answers.size);
    expect(differences(answers, kept!)).toEqual([]);
  });
