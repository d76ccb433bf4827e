/** bench/leader on this machine's own kernel: `npm run bench:leader`. */
import { expect, test } from 'vitest';
import { ManagedLab } from '../../test/support/managed-lab.js';
import { image, lose, losses, ratiosOf, tableOf } from './loss.js';
import type { Recovery, Row } from './loss.js';

/** What Skep may take of the time that Swarm takes. */
const goal = 1 / 3;

test('what the loss of the leader costs', { timeout: 1_500_000 }, async () => {
  const rounds = Number(process.env['SKEP_BENCH_ROUNDS'] ?? 5);
  await using skep = await ManagedLab.create('skep', 'bench-leader-skep');
  await using swarm = await ManagedLab.create('swarm', 'bench-leader-swarm');
  for (const contender of [skep, swarm]) {
    await contender.initManagers();
    await contender.must('node1', `service create -d --name web --replicas 3 --no-resolve-image ${image}`);
  }
  const rows: Row[] = [];
  for (const loss of losses) {
    const recoveries = new Map<ManagedLab, Recovery[]>([
      [skep, []],
      [swarm, []],
    ]);
    for (let round = 1; round <= rounds; round++)
      for (const [contender, found] of recoveries) found.push(await lose(contender, loss, round));
    for (const [{ by }, found] of recoveries) rows.push({ contender: by, loss, rounds: found });
  }
  const ratios = ratiosOf(rows);
  console.log(`${tableOf(rows)}\n\n${JSON.stringify({ rows, ratios })}`);
  for (const { writtenMs, runningMs } of ratios) {
    expect(writtenMs).toBeLessThan(goal);
    expect(runningMs).toBeLessThan(goal);
  }
});
