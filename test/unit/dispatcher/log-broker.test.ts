/** Readers, nodes and what becomes of lines between them; nodes are played, time is the test's. */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { LogBroker } from '../../../src/controlplane/dispatcher/log-broker.js';
import type { Session } from '../../../src/controlplane/dispatcher/sessions.js';
import type { PublishLogsMessage, SubscriptionMessage } from '../../../src/controlplane/rpc/messages.js';
import type { LogOptions } from '../../../src/controlplane/task-logs.js';
import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { NodeState } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { node, service, task } from '../../support/cluster-objects.js';
import { packed, unpacked } from '../../support/log-lines.js';
import { TestClock, settled } from '../../support/test-clock.js';

const web = service('web');
const at = (second: number): string => `2026-11-21T03:07:${String(second).padStart(2, '0')}.000000000Z`;

class Fixture {
  readonly clock = new TestClock();
  readonly store = new MemoryStore();
  readonly broker = new LogBroker({
    store: this.store,
    clock: this.clock,
    random: (size) => randomBytes(size),
  });

  static async create(...tasks: readonly [id: string, node: string | undefined, state?: TaskState][]) {
    const fixture = new Fixture();
    await fixture.store.update((tx) => tx.create('service', web));
    for (const each of tasks) await fixture.put(...each);
    return fixture;
  }

  put(id: string, nodeId: string | undefined, state: TaskState = 'running'): Promise<void> {
    return this.store.update((tx) => {
      const made = task(id, web, state, nodeId === undefined ? {} : { node: nodeId });
      const known = tx.get('task', id as TaskId);
      if (known) tx.update('task', { ...known, ...made, version: known.version });
      else tx.create('task', made);
    });
  }

  async node(id: string): Promise<PlayedNode> {
    const node = new PlayedNode(this.broker, id as NodeId);
    await settled();
    return node;
  }

  reader(over: Partial<LogOptions> = {}, taskId?: string): Reader {
    const options = { stdout: true, stderr: true, follow: true, tail: 7, since: '', ...over };
    return new Reader(this.broker, taskId, options);
  }
}

/** A node that listens, and says what the test lets it say. */
class PlayedNode {
  readonly told: SubscriptionMessage[] = [];
  readonly #gone = new AbortController();
  readonly #open = new Map<
    string,
    { say: (message: Partial<PublishLogsMessage>) => void; ended: Promise<void> }
  >();

  constructor(
    private readonly broker: LogBroker,
    readonly id: NodeId,
  ) {
    const session = { nodeId: id, signal: this.#gone.signal } as Session;
    const write = async (message: SubscriptionMessage): Promise<void> => void this.told.push(message);
    broker.listen(session, { write, signal: this.#gone.signal }).catch(() => undefined);
  }

  /** What of the tasks it is asked for, in the order in which it was. */
  get asked(): string[] {
    return this.told
      .filter(({ close }) => !close)
      .map(({ taskIds, tail, since }) => `${taskIds.join('+')} tail ${tail} since ${since || 'ever'}`);
  }

  /** Lines for the task: `second:text`. */
  async say(taskId: string, ...lines: readonly string[]): Promise<void> {
    const plain = lines.map((each) => {
      const [second = '', text = ''] = each.split(':');
      return { timestamp: at(Number(second)), text: `${text}\n` };
    });
    await this.publish(taskId, { lines: [{ taskId, nodeId: 'another', packed: packed(...plain) }] });
  }

  async end(taskId: string, error = ''): Promise<void> {
    await this.publish(taskId, { ends: [{ taskId, error }] });
  }

  async close(taskId: string): Promise<void> {
    await this.publish(taskId, { close: true });
  }

  /** @returns what becomes of the stream that the task's lines are in */
  async publish(
    taskId: string,
    message: Partial<PublishLogsMessage>,
    to?: string,
  ): Promise<{ ended: Promise<void> }> {
    const known = this.told.findLast(({ close, taskIds }) => !close && taskIds.includes(taskId));
    const id = to ?? known?.id ?? expect.fail(`nobody asked for ${taskId}`);
    const stream = this.#open.get(id) ?? this.#start(id);
    stream.say(message);
    await settled();
    return stream;
  }

  async disconnect(): Promise<void> {
    this.#gone.abort(new Error('gone'));
    await settled();
  }

  #start(subscriptionId: string) {
    const queue: PublishLogsMessage[] = [];
    let wake: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => this.#gone.signal.addEventListener('abort', () => resolve()));
    const { signal } = this.#gone;
    async function* messages(): AsyncGenerator<PublishLogsMessage> {
      while (!signal.aborted) {
        for (let next = queue.shift(); next; next = queue.shift()) yield next;
        await Promise.race([new Promise<void>((resolve) => (wake = resolve)), gone]);
      }
    }
    const stream = {
      say: (message: Partial<PublishLogsMessage>): void => {
        queue.push({ subscriptionId, lines: [], ends: [], close: false, ...message });
        wake();
      },
      ended: this.broker.publish(this.id, messages()),
    };
    stream.ended.catch(() => undefined);
    this.#open.set(subscriptionId, stream);
    return stream;
  }
}

/** Reads on and on, unless told to wait. */
class Reader {
  readonly lines: string[] = [];
  readonly end: Promise<string>;
  readonly stop = new AbortController();
  #reading: Promise<void> = Promise.resolve();
  #goOn: () => void = () => undefined;

  constructor(broker: LogBroker, taskId: string | undefined, options: LogOptions) {
    const subject = taskId === undefined ? { serviceId: web.id } : { taskId: taskId as TaskId };
    this.end = (async () => {
      try {
        for await (const lines of broker.read(subject, options, this.stop.signal)) {
          this.lines.push(
            ...lines.flatMap(({ taskId: of, nodeId, packed: some }) =>
              unpacked(some).map(({ stream, text }) => `${of}@${nodeId} ${stream} ${text.trim()}`),
            ),
          );
          await this.#reading;
        }
        return 'end';
      } catch (err) {
        return (err as Error).message;
      }
    })();
  }

  pause(): void {
    this.#reading = new Promise((resolve) => (this.#goOn = resolve));
  }

  resume(): void {
    this.#goOn();
  }
}

test('lines of several nodes come in the order of time', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n2'], ['c', 'n2']);
  const [n1, n2] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader({ follow: false });
  await settled();
  expect([n1.asked, n2.asked]).toEqual([['a tail 7 since ever'], ['b+c tail 7 since ever']]);
  await n2.say('b', '2:two', '5:five');
  await n1.say('a', '1:one', '4:four');
  expect(reader.lines).toEqual([]);
  await n2.say('c', '3:three');
  expect(reader.lines).toEqual(['a@n1 1 one', 'b@n2 1 two', 'c@n2 1 three']);
  await n2.end('c');
  expect(reader.lines.slice(3)).toEqual(['a@n1 1 four']);
  await n1.close('a');
  await n2.close('b');
  expect(await reader.end).toBe('end');
  expect(reader.lines.slice(4)).toEqual(['b@n2 1 five']);
});

test('who follows a service gets its tasks to come, once they have started, from their first line', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['new', undefined, 'pending']);
  const [n1, n2] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader();
  await settled();
  await cluster.put('new', 'n2', 'assigned');
  await settled();
  expect(n2.asked, 'it may not have heard of the task').toEqual([]);
  await cluster.put('new', 'n2', 'running');
  await cluster.put('short', 'n1', 'complete');
  await settled();
  expect([n1.asked, n2.asked]).toEqual([
    ['a tail 7 since ever', 'short tail -1 since ever'],
    ['new tail -1 since ever'],
  ]);
  await n2.say('new', '1:hello');
  await n1.close('a');
  await n1.close('short');
  await n2.close('new');
  expect(reader.lines).toEqual(['new@n2 1 hello']);
  await cluster.put('last', 'n1');
  await settled();
  await n1.say('last', '2:bye');
  await cluster.store.update((tx) => tx.delete('service', web.id));
  await n1.close('last');
  expect(await reader.end, 'the service is gone').toBe('end');
  expect(reader.lines.slice(1)).toEqual(['last@n1 1 bye']);
});

test('who follows one task gets it when it starts, and an end with it', async () => {
  const cluster = await Fixture.create(['a', 'n1', 'assigned'], ['b', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader({}, 'a');
  await settled();
  expect(n1.asked).toEqual([]);
  await cluster.put('a', 'n1', 'running');
  await settled();
  await n1.say('a', '1:x');
  await n1.close('a');
  expect(await reader.end).toBe('end');
  expect(reader.lines).toEqual(['a@n1 1 x']);
});

test('a node that does not answer is waited for no longer than that others can be ordered', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n2']);
  const [n1] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader({ follow: false });
  await settled();
  await n1.say('a', '1:x');
  await n1.close('a');
  await cluster.clock.pass(1_500);
  expect(reader.lines).toEqual(['a@n1 1 x']);
  await cluster.clock.pass(1_500);
  await cluster.clock.pass(500);
  expect(await reader.end).toMatch(/following reasons: node n2 disconnected unexpectedly$/);
});

test('a node that says that it is there is waited for', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader({ follow: false });
  await settled();
  for (let i = 0; i < 20; i++) {
    await cluster.clock.pass(1_000);
    await n1.publish('a', {});
  }
  await n1.say('a', '1:late');
  await n1.close('a');
  expect([await reader.end, reader.lines]).toEqual(['end', ['a@n1 1 late']]);
});

test('who follows is told soon of a node that is lost, and gets the rest when it is back', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n2'], ['c', 'n2']);
  const [n1, n2] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader();
  await settled();
  await n1.say('a', '1:a1');
  await n2.say('b', '2:b1');
  await cluster.clock.pass(250);
  expect(reader.lines.splice(0)).toEqual(['a@n1 1 a1', 'b@n2 1 b1']);

  await n2.disconnect();
  await n1.say('a', '3:a2');
  expect(reader.lines.splice(0), 'the other is not held up').toEqual(['a@n1 1 a2']);
  await cluster.clock.pass(1_000);
  const lost = 'warning: incomplete log stream: node n2 disconnected unexpectedly';
  expect(reader.lines.splice(0)).toEqual([`b@n2 3 ${lost}`, `c@n2 3 ${lost}`]);

  const back = await cluster.node('n2');
  // A nanosecond behind the last line; what has said nothing yet as it was asked for at first.
  const behind = Date.parse(at(2)) / 1000;
  expect(back.asked).toEqual([`b tail -1 since ${behind}.000000001`, 'c tail 7 since ever']);
  await back.say('b', '4:b2');
  await cluster.clock.pass(250);
  expect(reader.lines).toEqual(['b@n2 1 b2']);
  await n1.close('a');
  await back.close('b');
  await back.close('c');
  await cluster.store.update((tx) => tx.delete('service', web.id));
  expect(await reader.end, 'nothing is missing').toBe('end');
});

test('a node that registers anew is waited for, one that is down is not', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const set = (state: NodeState): Promise<void> => cluster.store.update((tx) => {
    const known = tx.get('node', 'n1' as NodeId);
    if (known) tx.update('node', { ...known, status: { ...known.status, state } });
    else tx.create('node', node('n1', { state }));
  }); // prettier-ignore
  await set('ready');
  const between = cluster.reader({ follow: false });
  await cluster.clock.pass(1_000);
  const n1 = await cluster.node('n1');
  expect(n1.asked).toEqual(['a tail 7 since ever']);
  await n1.say('a', '1:x');
  await n1.close('a');
  expect([await between.end, between.lines]).toEqual(['end', ['a@n1 1 x']]);

  await n1.disconnect();
  const never = cluster.reader({ follow: false });
  await cluster.clock.pass(3_000);
  expect(await never.end).toMatch(/following reasons: node n1 is not available$/);

  await set('down');
  const gone = cluster.reader({ follow: false });
  await settled();
  expect(await gone.end).toMatch(/following reasons: node n1 is not available$/);
});

test('what is left in a stream that the node’s next session replaced is not taken twice', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader({ follow: false });
  await settled();
  await n1.say('a', '1:one');
  const next = await cluster.node('n1');
  await n1.say('a', '2:two');
  await next.say('a', '2:two', '3:three');
  await n1.close('a');
  await next.close('a');
  expect([await reader.end, reader.lines]).toEqual(['end', ['a@n1 1 one', 'a@n1 1 two', 'a@n1 1 three']]);
});

test('a node that was given up may go on speaking', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n2']);
  const [n1, n2] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader({ follow: false });
  await settled();
  await n1.say('a', '1:one');
  for (let i = 0; i < 8; i++) {
    await cluster.clock.pass(500);
    await n2.publish('b', {});
  }
  const { ended } = await n1.publish('a', {
    lines: [{ taskId: 'a', nodeId: '', packed: packed({ text: 'late' }) }],
  });
  await expect(ended).resolves.toBeUndefined();
  await n2.close('b');
  expect(await reader.end).toMatch(/following reasons: node n1 disconnected unexpectedly$/);
  expect(reader.lines).toEqual(['a@n1 1 one']);
});

test.each([true, false])('a node that is back in a moment is not missed, following: %s', async (follow) => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader({ follow });
  await settled();
  await n1.say('a', '1:a1');
  await n1.disconnect();
  await cluster.clock.pass(900);
  const back = await cluster.node('n1');
  await back.say('a', '2:a2');
  await back.close('a');
  await cluster.clock.pass(900);
  await cluster.store.update((tx) => tx.delete('service', web.id));
  expect([await reader.end, reader.lines]).toEqual(['end', ['a@n1 1 a1', 'a@n1 1 a2']]);
});

test('who follows is told of a node that falls silent, once, and goes on when it speaks', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader();
  await settled();
  for (let i = 0; i < 3; i++) await cluster.clock.pass(4_000);
  const silent = 'a@n1 3 warning: incomplete log stream: node n1 does not answer';
  expect(reader.lines).toEqual([silent]);
  await n1.say('a', '1:x');
  expect(reader.lines).toEqual([silent, 'a@n1 1 x']);
});

test('what is missing stays out of a stream without standard error', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const reader = cluster.reader({ stderr: false });
  await settled();
  expect(reader.lines).toEqual([]);
  reader.stop.abort();
  expect(await reader.end).toBe('end');
});

test('a task that cannot be read says why', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader({ follow: false });
  await settled();
  await n1.say('b', '1:x');
  await n1.end('a', 'configured logging driver does not support reading');
  await n1.close('b');
  expect(await reader.end).toMatch(/reasons: task a: configured logging driver does not support reading$/);
  expect(reader.lines).toEqual(['b@n1 1 x']);
});

test('a node cannot speak for another’s tasks, nor into another’s stream', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n2']);
  const [n1, n2] = [await cluster.node('n1'), await cluster.node('n2')];
  const reader = cluster.reader();
  await settled();
  const refused = { message: 'cannot publish logs of a task not assigned this node' };
  const lie = { taskId: 'a', nodeId: 'n1', packed: packed({ timestamp: at(1), text: 'lie\n' }) };
  const stranger = await cluster.node('n3');
  const fromAfar = await stranger.publish('a', { lines: [lie] }, n1.told[0]!.id);
  await expect(fromAfar.ended).rejects.toMatchObject(refused);
  await n1.say('a', '1:truth');
  const { ended } = await n2.publish('b', { lines: [lie] });
  await expect(ended).rejects.toMatchObject(refused);
  await cluster.clock.pass(250);
  expect(reader.lines.filter((each) => each.startsWith('a@'))).toEqual(['a@n1 1 truth']);
});

test.each<[what: string, bytes: Buffer]>([
  ['nothing', Buffer.alloc(0)],
  ['half a header', Buffer.from([1, 0, 0])],
  ['a line that is longer than what comes', packed({ text: 'cut' }).subarray(0, -1)],
  ['a line without a time', Buffer.from([1, 0, 0, 0, 0, 0, 0, 2, 104, 105])],
  ['a stream that there is not', packed({ stream: 4, text: 'x' })],
  ['a time of another form', packed({ timestamp: '2026-11-21T03:07:14.127+02:00', text: 'later' })],
])('a node that says %s is refused', async (_, bytes) => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader();
  await settled();
  const { ended } = await n1.publish('a', { lines: [{ taskId: 'a', nodeId: '', packed: bytes }] });
  await expect(ended).rejects.toMatchObject({ kind: 'invalidArgument' });
  expect(reader.lines).toEqual([]);
});

test('a node is read no further than the reader has room, and goes on when he reads', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader();
  await settled();
  reader.pause();
  const message = packed({ timestamp: at(1), text: 'x'.repeat(64 * 1024) });
  let published = 0;
  const [{ id: subscriptionId } = expect.fail('asked')] = n1.told;
  const done = cluster.broker.publish(
    'n1' as NodeId,
    (async function* () {
      for (; published < 2_000; published++) {
        yield {
          ...{ subscriptionId, ends: [], close: false },
          lines: [{ taskId: 'a', nodeId: '', packed: message }],
        };
      }
      yield { subscriptionId, lines: [], ends: [], close: true };
    })(),
  );
  await settled();
  for (let i = 0; i < 10; i++) await cluster.clock.pass(4_000);
  expect(published).toBeLessThan(300); // 16 MiB and what is on its way
  expect(reader.lines.length, 'and nobody says that the node is silent').toBeLessThan(published);
  reader.resume();
  await done;
  await settled();
  expect(reader.lines).toHaveLength(2_000);
});

test('readers are told when another manager leads', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const reader = cluster.reader();
  await settled();
  cluster.broker.stop();
  expect(await reader.end).toBe('the manager that read the logs does not lead any more');
});

test('what nobody reads any more is closed on the node', async () => {
  const cluster = await Fixture.create(['a', 'n1']);
  const n1 = await cluster.node('n1');
  const reader = cluster.reader();
  await settled();
  reader.stop.abort();
  await reader.end;
  await settled();
  expect(n1.told.map(({ id, close }) => [id, close])).toEqual([
    [n1.told[0]!.id, false],
    [n1.told[0]!.id, true],
  ]);
});

test('who has read before goes on behind that', async () => {
  const cluster = await Fixture.create(['a', 'n1'], ['b', 'n1']);
  const n1 = await cluster.node('n1');
  cluster.reader({ reached: { a: at(1) } });
  await settled();
  expect(n1.asked).toEqual(['b tail 7 since ever', `a tail -1 since ${Date.parse(at(1)) / 1000}.000000001`]);
});
