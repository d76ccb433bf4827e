import assert from 'node:assert';
import { describe, expect, test } from 'vitest';
import { planSchedules } from '../../../src/controlplane/orchestrator/schedules.js';
import { planServices } from '../../../src/controlplane/orchestrator/orchestrator.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { NodeId, ServiceId } from '../../../src/model/ids.js';
import type { JobStatus } from '../../../src/model/objects.js';
import type { ServiceMode } from '../../../src/model/service-spec.js';
import { isTerminal } from '../../../src/model/task-state.js';
import {
  FakeTime,
  node,
  seededBytes,
  seededNumbers,
  service,
  storeOf,
} from '../../support/cluster-objects.js';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const id = 'backup' as ServiceId;
/** 10:00, of some day. */
const startMs = Date.parse('2026-01-01T10:00:00Z');
const oneTask: ServiceMode = { kind: 'replicated-job', maxConcurrent: 1, totalCompletions: 1 };

/** A job every minute, and a leader's loops, which are run when `pass` says so. */
class Scheduled {
  readonly #random = seededBytes(1);
  wakeAtMs: number | undefined;
  /** Every run but the first: the firing that it stands for. */
  readonly firings: number[] = [];

  private constructor(
    readonly store: MemoryStore,
    readonly time: FakeTime,
  ) {}

  static async of(
    cron = '* * * * *',
    mode = oneTask,
    jobStatus: Partial<JobStatus> = {},
  ): Promise<Scheduled> {
    const time = new FakeTime(startMs);
    const over = { jobStatus: { iteration: 0, lastExecutionMs: startMs, ...jobStatus } };
    const job = service(id, { mode, labels: { 'skep.schedule': cron } }, over);
    return new Scheduled(await storeOf({ node: [node('n1'), node('n2')], service: [job] }, time), time);
  }

  get status(): JobStatus {
    const status = this.store.view().get('service', id)?.jobStatus;
    assert(status);
    return status;
  }

  /** Both loops until they rest, by a clock that says so. @returns the firings that runs were begun for */
  async pass(nowMs = this.time.ms): Promise<readonly string[]> {
    this.time.ms = nowMs;
    const begun: string[] = [];
    for (let round = 0; round < 10; round++) {
      const { iteration } = this.status;
      const { revision } = this.store.view();
      this.wakeAtMs = await applyPlanner(
        this.store,
        (view, ms) => planSchedules(view, ms, this.#random),
        this.time.nowMs,
      );
      await applyPlanner(this.store, (view, ms) => planServices(view, ms, this.#random), this.time.nowMs);
      if (this.status.iteration !== iteration) {
        expect(this.status.iteration).toBe(iteration + 1);
        assert(this.status.scheduledForMs !== undefined);
        this.firings.push(this.status.scheduledForMs);
        begun.push(new Date(this.status.scheduledForMs).toISOString().slice(11, 16));
      }
      if (this.store.view().revision === revision) return begun;
    }
    return assert.fail('does not come to rest');
  }

  async end(state: 'complete' | 'failed' = 'complete'): Promise<void> {
    await this.store.update((tx) => {
      for (const task of tx.list('task'))
        if (!isTerminal(task.status.state))
          tx.update('task', {
            ...task,
            nodeId: task.nodeId ?? ('n1' as NodeId),
            status: { ...task.status, state },
          });
    });
  }
}

const atMinute = (minute: number, ms = 0): number => startMs + minute * minuteMs + ms;

describe('a firing', () => {
  test('begins a run as soon as it is due, and asks to be woken for the next', async () => {
    const job = await Scheduled.of();
    expect(await job.pass()).toEqual([]);
    await job.end();
    expect(await job.pass(atMinute(1, -1))).toEqual([]);
    expect(job.wakeAtMs).toBe(atMinute(1));
    expect(await job.pass(atMinute(1))).toEqual(['10:01']);
    expect(job.status).toEqual({ iteration: 1, lastExecutionMs: atMinute(1), scheduledForMs: atMinute(1) });
    expect(await job.pass(atMinute(1, 30_000))).toEqual([]);
  });

  test('that is due while the run before goes on waits until that has ended, and only one does', async () => {
    const job = await Scheduled.of();
    for (let minute = 0; minute < 4; minute++) expect(await job.pass(atMinute(minute, 1))).toEqual([]);
    await job.end();
    expect(await job.pass(atMinute(3, 20_000))).toEqual(['10:03']);
    await job.end();
    expect(await job.pass(atMinute(3, 40_000))).toEqual([]);
    expect(await job.pass(atMinute(4))).toEqual(['10:04']);
  });

  test('waits for restarts too, and not for what has given up', async () => {
    const job = await Scheduled.of();
    await job.pass();
    await job.end('failed');
    expect(await job.pass(atMinute(1))).toEqual([]);
    await job.store.update((tx) => {
      for (const task of tx.list('task')) {
        const status = { ...task.status, state: 'failed' as const };
        tx.update('task', {
          ...task,
          status,
          desiredState: 'shutdown',
          spec: {
            ...task.spec,
            restartPolicy: { condition: 'none', delayNs: 0, maxAttempts: 0, windowNs: 0 },
          },
        });
      }
    });
    expect(await job.pass(atMinute(1, 1))).toEqual(['10:01']);
  });

  test('waits for every completion of a replicated job, and every node of a global one', async () => {
    for (const [mode, rounds] of [
      [{ kind: 'replicated-job', maxConcurrent: 1, totalCompletions: 3 }, 3],
      [{ kind: 'global-job' }, 1],
    ] as const) {
      const job = await Scheduled.of('* * * * *', mode);
      await job.pass();
      for (let round = 0; round < rounds; round++) {
        expect(await job.pass(atMinute(1))).toEqual([]);
        await job.end();
      }
      expect(await job.pass(atMinute(1))).toEqual(['10:01']);
    }
  });

  test.each([
    { kind: 'replicated-job', maxConcurrent: 0, totalCompletions: 3 },
    { kind: 'replicated-job', maxConcurrent: 3, totalCompletions: 0 },
  ] as const)('of a job that has nothing to run: %j', async (mode) => {
    const job = await Scheduled.of('* * * * *', mode);
    expect(await job.pass(atMinute(1))).toEqual(['10:01']);
  });

  test('of several that nobody saw to the last is run, once', async () => {
    const job = await Scheduled.of('*/10 * * * *');
    await job.pass();
    await job.end();
    expect(await job.pass(atMinute(35))).toEqual(['10:30']);
    await job.end();
    expect(await job.pass(atMinute(36))).toEqual([]);
  });
});

describe('clocks', () => {
  test.each([
    ['a leader whose clock is a little behind does not fire again', -3_000, []],
    ['nor one that is two hours behind', -2 * hourMs, []],
    ['one that is two hours ahead fires what it takes for due', 2 * hourMs, ['12:05']],
  ])('%s', async (_, byMs, expected) => {
    const job = await Scheduled.of();
    await job.pass();
    await job.end();
    await job.pass(atMinute(5));
    await job.end();
    expect(await job.pass(atMinute(5, byMs))).toEqual(expected);
  });

  test('what a clock three hours ahead has seen to holds nothing up', async () => {
    const job = await Scheduled.of('* * * * *', oneTask, { lastExecutionMs: atMinute(0, 24 * hourMs) });
    await job.pass();
    await job.end();
    expect(await job.pass(atMinute(1, -1))).toEqual([]);
    expect(await job.pass(atMinute(1))).toEqual(['10:01']);
  });
});

describe.each(Array.from({ length: 12 }, (_, seed) => seed + 1))('seed %i', (seed) => {
  test('every minute is run once, whoever leads, with clocks that differ by seconds', async () => {
    const next = seededNumbers(seed);
    const job = await Scheduled.of();
    let offsetMs = 0;
    for (let trueMs = startMs; trueMs < atMinute(20); trueMs += 500 + next() * 9_000) {
      // A leader is killed: for some seconds there is none, then one with a clock of its own.
      if (next() < 0.2) {
        trueMs += next() * 20_000;
        offsetMs = (next() - 0.5) * 4_000;
      }
      await job.pass(trueMs + offsetMs);
      if (next() < 0.8) await job.end();
    }
    await job.end();
    await job.pass(atMinute(20, 3_000));
    const expected = Array.from({ length: 20 }, (_, at) => atMinute(at + 1));
    // A run that lasts longer than a minute is what leaves a firing out.
    const missing = expected.filter((each) => !job.firings.includes(each));
    expect(job.firings).toEqual(expected.filter((each) => !missing.includes(each)));
    expect(missing.length).toBeLessThan(3);
    expect(job.firings.at(-1)).toBe(atMinute(20));
  });

  test('no firing is run twice where clocks are set by up to three hours, and they go on once those are right', async () => {
    const next = seededNumbers(seed);
    const job = await Scheduled.of();
    for (let trueMs = startMs; trueMs < atMinute(60); trueMs += 500 + next() * 30_000) {
      await job.pass(trueMs + (next() < 0.05 ? (next() - 0.5) * 3 * hourMs : 0));
      await job.end();
    }
    expect(job.firings).toEqual([...new Set(job.firings)].sort((a, b) => a - b));
    for (let minute = 61; minute <= 60 + 181; minute++) {
      await job.pass(atMinute(minute, 1));
      await job.end();
    }
    expect(job.firings.at(-1)).toBe(atMinute(241));
  });
});
