/**
 * The whole HTTP surface: the script of test/swarm/http asked of Skep on each engine, and compared with what Docker's own Swarm
 * answered on the same. What differs must have a reason, and docs/compatibility.md says what it is.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import { compared, newestOf } from '../swarm/http/compared.js';
import type { Compared } from '../swarm/http/compared.js';
import { differences } from '../swarm/http/differences.js';
import { checkDocument, documentOf } from '../swarm/http/document.js';
import type { Comparison, Found } from '../swarm/http/judge.js';
import { judge, said } from '../swarm/http/judge.js';
import { keptAnswers } from '../swarm/http/kept.js';
import { play } from '../swarm/http/play.js';
import { reasons } from '../swarm/http/reasons.js';
import { scriptOf } from '../swarm/http/script.js';

async function compare({ lab, below, version }: Compared): Promise<Comparison> {
  await using skep = await ManagedLab.create('skep', `test-surface-${lab}`, 2, below);
  const api = version ?? (await newestOf(skep));
  const swarm = keptAnswers(api);
  if (!swarm)
    throw new Error(`no answers of Swarm's are kept for API ${api}: "npm run compare:swarm" keeps them`);
  // The machines are up when skepd answers; a dataplane that starts later is told of as soon as it answers, too.
  const isTold = `until docker -H unix://${skep.socket} info --format '{{.Labels}}' | grep -q skep.balancer; do sleep 0.1; done`;
  await Promise.all(skep.nodes.map((node) => skep.sh(node, isTold)));
  const daemons = {
    by: skep.by,
    socketOf: (node: string) => skep.socketOf(node),
    // The script has the swarm locked before. A manager seals its own files on hearing of it, as Swarm's do: until then a
    // daemon that starts again is not locked.
    killDaemon: async (node: string) => {
      await skep.sh(
        node,
        'until grep -q unlockKeyVersion /var/lib/skep/swarm/keyring.json; do sleep 0.1; done',
      );
      await skep.killDaemon(node);
    },
  };
  const answers = await play(daemons, scriptOf(api), new Map([['api', api]]));
  return { version: api, swarm, differences: differences(swarm, answers) };
}

test('Skep answers as Swarm, or has a reason not to', async () => {
  const comparisons = await Promise.all(compared.map(compare));
  const judgement = judge(comparisons, reasons);
  const told = ({ version, title, ...each }: Found): string => `${version} ${title}: ${said(each)}`;
  expect(judgement.unexplained.map(told)).toEqual([]);
  expect(judgement.ambiguous.map(told)).toEqual([]);
  expect(judgement.stale).toEqual([]);
  checkDocument(documentOf(comparisons, judgement));
});
