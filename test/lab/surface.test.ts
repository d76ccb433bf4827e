/**
 * The whole HTTP surface: the script of test/swarm/http asked of Skep, and compared with what Docker's own Swarm answered. What differs
 * must have a reason, and docs/compatibility.md says what it is.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import { ask } from '../swarm/http/ask.js';
import { differences } from '../swarm/http/differences.js';
import { checkDocument, documentOf } from '../swarm/http/document.js';
import { judge, said } from '../swarm/http/judge.js';
import { keptAnswers } from '../swarm/http/kept.js';
import { play } from '../swarm/http/play.js';
import { reasons } from '../swarm/http/reasons.js';
import { script } from '../swarm/http/script.js';

test('Skep answers as Swarm, or has a reason not to', async () => {
  await using lab = await ManagedLab.create('skep', 'test-surface', 2);
  const { headers } = await ask(lab.socketOf('node1'), { method: 'GET', target: '/_ping', headers: {} });
  const version = headers['api-version'] ?? '';
  const swarm = keptAnswers(version);
  if (!swarm)
    throw new Error(`no answers of Swarm's are kept for API ${version}: "npm run compare:swarm" keeps them`);
  const skep = await play(lab, script, new Map([['api', version]]));
  const judgement = judge(differences(swarm, skep), reasons);
  expect(judgement.unexplained.map((each) => `${each.title}: ${said(each)}`)).toEqual([]);
  expect(judgement.ambiguous.map((each) => `${each.title}: ${said(each)}`)).toEqual([]);
  expect(judgement.stale).toEqual([]);
  checkDocument(documentOf(version, swarm, judgement));
});
