import { expect, test } from 'vitest';
import {
  afterFailure,
  afterSuccess,
  ExitError,
  nextStep,
  resumeAt,
} from '../../../src/controlplane/agent/task-machine.js';
import type { TaskStep } from '../../../src/controlplane/agent/task-machine.js';
import { OutsideError, SkepError } from '../../../src/model/errors.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { compareStates, taskStates } from '../../../src/model/task-state.js';

const steps: Array<[observed: TaskState, desired: TaskState, step: TaskStep]> = [
  ['new', 'running', 'none'],
  ['pending', 'running', 'none'],
  ['assigned', 'running', 'accept'],
  ['assigned', 'ready', 'accept'],
  ['accepted', 'ready', 'beginPreparing'],
  ['preparing', 'ready', 'prepare'],
  ['ready', 'ready', 'none'],
  ['ready', 'running', 'beginStarting'],
  ['ready', 'complete', 'beginStarting'],
  ['starting', 'running', 'start'],
  ['starting', 'ready', 'start'],
  ['running', 'running', 'wait'],
  ['running', 'complete', 'wait'],
  ['assigned', 'shutdown', 'shutdown'],
  ['preparing', 'remove', 'shutdown'],
  ['running', 'shutdown', 'shutdown'],
  ['running', 'remove', 'shutdown'],
  ['complete', 'running', 'none'],
  ['shutdown', 'remove', 'none'],
  ['failed', 'shutdown', 'none'],
  ['rejected', 'running', 'none'],
  ['orphaned', 'remove', 'none'],
];

test.each(steps)('%s, wanted %s: %s', (observed, desired, step) => {
  expect(nextStep(observed, desired)).toBe(step);
});

test('no step takes a state back, whatever the outcome', () => {
  const states = Object.keys(taskStates) as TaskState[];
  const outcomes = [
    new Error('x'),
    new ExitError(1),
    new OutsideError('x', true),
    new OutsideError('x', false),
  ];
  for (const observed of states)
    for (const desired of states) {
      const step = nextStep(observed, desired);
      if (step === 'none') continue;
      expect(compareStates(afterSuccess(step).state, observed)).toBeGreaterThan(0);
      for (const err of outcomes)
        expect(
          compareStates(afterFailure({ state: observed, message: '' }, err).state, observed),
        ).toBeGreaterThanOrEqual(0);
    }
});

test('every task that may run gets there in six steps, and ends in one more', () => {
  let state: TaskState = 'assigned';
  const seen: TaskState[] = [];
  for (let step = nextStep(state, 'running'); step !== 'none'; step = nextStep(state, 'running')) {
    state = afterSuccess(step).state;
    seen.push(state);
  }
  expect(seen).toEqual(['accepted', 'preparing', 'ready', 'starting', 'running', 'complete']);
});

test.each([
  ['preparing', new SkepError('notFound', 'No such image: x:1'), 'rejected', 'No such image: x:1'],
  ['starting', new Error('starting container failed: x'), 'failed', 'starting container failed: x'],
  ['running', new ExitError(137), 'failed', 'task: non-zero exit (137)'],
  [
    'running',
    new ExitError(5, 'dockerexec: unhealthy container'),
    'failed',
    'task: non-zero exit (5): dockerexec: unhealthy container',
  ],
  ['preparing', new OutsideError('engine away', true), 'preparing', 'engine away'],
  ['running', new OutsideError('engine away', true), 'running', 'engine away'],
  ['starting', new OutsideError('no such plugin', false), 'failed', 'no such plugin'],
] as const)('a failure in %s: %s', (state, failure, after, err) => {
  expect(afterFailure({ state, message: 'was' }, failure)).toEqual({ state: after, message: 'was', err });
});

test.each([
  ['preparing', undefined, 'preparing'],
  ['preparing', 'created', 'preparing'],
  ['preparing', 'running', 'starting'],
  ['accepted', 'exited', 'starting'],
  ['ready', 'running', 'starting'],
  ['running', 'running', 'running'],
  ['running', undefined, 'running'],
] as const)('known %s, container %s: taken up at %s', (state, status, at) => {
  expect(resumeAt({ state, message: '' }, status === undefined ? undefined : { status }).state).toBe(at);
});
