/** Following logs while the managers change who leads. */
import { expect, test } from 'vitest';
import { acrossLeaders } from '../../../src/controlplane/managers/across-leaders.js';
import type { LogOptions, ReadLogs, TaskLines } from '../../../src/controlplane/task-logs.js';
import { SkepError } from '../../../src/model/errors.js';
import type { ErrorKind } from '../../../src/model/errors.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import { packed, unpacked } from '../../support/log-lines.js';

const at = (time: string): string => time.padStart(29, '0') + 'Z';
const line = (task: string, time: string, stream: 1 | 2 | 3 = 1): TaskLines => ({
  ...{ taskId: task as TaskId, nodeId: 'n' as NodeId },
  packed: packed({ stream, timestamp: at(time), text: `${task}${time}` }),
});

/** Leaders one after the other: what each says before it fails, or ends. */
async function read(
  leaders: readonly (readonly [lines: readonly TaskLines[], end: ErrorKind | 'end'])[],
  follow: boolean,
): Promise<{ lines: string[]; asked: unknown[]; end: string }> {
  const asked: unknown[] = [];
  const lines: string[] = [];
  const ask: ReadLogs = async function* (_, { reached }) {
    const [said, end] = leaders[Math.min(asked.length, leaders.length - 1)]!;
    asked.push(reached);
    if (said.length > 0) yield said;
    if (end !== 'end') throw new SkepError(end, `it is ${end}`);
  };
  let nowMs = 0;
  const clock = {
    nowMs: () => nowMs,
    steadyMs: () => nowMs,
    sleep: async (ms: number): Promise<void> => void (nowMs += ms),
  };
  const options: LogOptions = { stdout: true, stderr: true, follow, tail: -1, since: '' };
  try {
    const all = acrossLeaders(ask, clock)({ taskId: 'a' as TaskId }, options, new AbortController().signal);
    for await (const some of all)
      lines.push(...some.flatMap((each) => unpacked(each.packed).map(({ text }) => text)));
    return { lines, asked, end: 'end' };
  } catch (err) {
    return { lines, asked, end: (err as Error).message };
  }
}

test('the next leader goes on behind the last line of each task', async () => {
  const first = [line('a', '1'), line('b', '2'), line('a', '3'), line('b', '9', 3)];
  expect(
    await read(
      [
        [first, 'unavailable'],
        [[], 'unknown'],
        [[line('b', '4')], 'unavailable'],
        [[], 'end'],
      ],
      true,
    ),
  ).toEqual({
    lines: ['a1', 'b2', 'a3', 'b9', 'b4'],
    // A manager's note is no line of the task.
    asked: [{}, { a: at('3'), b: at('2') }, { a: at('3'), b: at('2') }, { a: at('3'), b: at('4') }],
    end: 'end',
  });
});

test.each<[follow: boolean, end: ErrorKind]>([
  [false, 'unavailable'],
  [true, 'permissionDenied'],
  [true, 'failedPrecondition'],
])('following: %s, what is %s ends it', async (follow, end) => {
  expect(await read([[[line('a', '1')], end]], follow)).toMatchObject({ lines: ['a1'], end: `it is ${end}` });
});

test('nobody who leads is waited for half a minute', async () => {
  const { asked, end } = await read([[[], 'unavailable']], true);
  expect(end).toBe('it is unavailable');
  expect(asked).toHaveLength(62);
});
