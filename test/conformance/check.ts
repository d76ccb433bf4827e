/** What one line of the conformance list is, and the few ways in which lines are asserted. */
import assert from 'node:assert';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Answer, Identity } from './peer.js';
import { isFailure } from './peer.js';
import type { World } from './world.js';
import { webTasks } from './world.js';

/** How many times slower this kernel's processor is than a real one: of limits in time, on an emulated one. */
export const slowness = Number(process.env['SKEP_SLOWNESS'] ?? 1);

export interface Check {
  /** What holds when it passes. */
  readonly name: string;
  /** Absent: both. */
  readonly engines?: readonly EngineName[];
  /**
   * Whatever state a check leaves, the kernel must equal it. Looking costs seconds where chains and sets are read by
   * processes, so with `ipvs` only the checks that say so are followed by a look.
   */
  readonly verified?: true;
  /**
   * Decided by the daemon, whatever the kernel, or by programs alone, which test/kernel runs on each: left out where the list runs
   * once more for the sake of another kernel, which is slow as it is emulated.
   */
  readonly sameOnAllKernels?: true;
  /** Throws when it does not hold. */
  readonly run: (world: World) => Promise<void>;
}

/** The answer, if it is one. @throws AssertionError naming the failure */
export function answered<T extends object>(answer: Answer<T>): T {
  assert(!isFailure(answer), `no answer: ${JSON.stringify(answer)}`);
  return answer;
}

/** How often each task answered. @throws AssertionError when a call failed */
export function countByTask(answers: readonly Answer<Identity>[]): Record<string, number> {
  const count: Record<string, number> = {};
  for (const answer of answers) {
    const { task } = answered(answer);
    count[task] = (count[task] ?? 0) + 1;
  }
  return count;
}

/** Every one of `tasks` answered its equal share, give or take `slack`, and nobody else did. */
export function assertEven(
  answers: readonly Answer<Identity>[],
  tasks: readonly string[] = webTasks,
  slack = 2,
): void {
  const count = countByTask(answers);
  const share = answers.length / tasks.length;
  const text = JSON.stringify(count);
  assert.deepEqual(Object.keys(count).sort(), [...tasks].sort(), `who answered: ${text}`);
  for (const task of tasks)
    assert(Math.abs((count[task] ?? 0) - share) <= slack, `not even: ${text}, share ${share}`);
}

/** All answers came from one task. @returns its name */
export function assertOneTask(answers: readonly Answer<Identity>[]): string {
  const tasks = Object.keys(countByTask(answers));
  assert.equal(tasks.length, 1, `answered by ${tasks.join(', ')}`);
  return tasks[0] ?? '';
}

/** Every task saw the client under this address. */
export function assertClient(answers: readonly Answer<Identity>[], address: string): void {
  const seen = new Set(answers.map((answer) => answered(answer).client.split(':')[0]));
  assert.deepEqual([...seen], [address], `the tasks saw ${[...seen].join(', ')} and not ${address}`);
}

/** Refused, and without waiting for anything to time out. */
export function assertRefused(answer: Answer<object>, within = 1_500): void {
  assert(
    isFailure(answer) && answer.failed === 'ECONNREFUSED',
    `expected a refusal: ${JSON.stringify(answer)}`,
  );
  assert(answer.ms < within, `refused only after ${answer.ms} ms`);
}
