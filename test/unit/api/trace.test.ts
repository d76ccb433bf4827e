/** One trace from a request to the node that has to do with it: through a real API server, the loops and the dispatcher, on the store in memory. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Acknowledgements } from '../../../src/controlplane/dispatcher/acknowledgements.js';
import { AssignmentStreams } from '../../../src/controlplane/dispatcher/assignment-stream.js';
import { runControlLoops } from '../../../src/controlplane/loops.js';
import type {
  AssignmentsMessage,
  EncodedAssignmentsMessage,
} from '../../../src/controlplane/rpc/assignment.js';
import { parseMessage } from '../../../src/controlplane/rpc/assignment.js';
import type { WireAssignmentsMessage } from '../../../src/controlplane/rpc/assignment.js';
import { dispatcherDefinition } from '../../../src/controlplane/rpc/proto.js';
import type { ServiceId, SessionId } from '../../../src/model/ids.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { Service, Task } from '../../../src/model/objects.js';
import type { TraceId } from '../../../src/model/trace.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { collectedLog, eventsIn } from '../../support/collected-log.js';
import { Harness, nodeId } from './harness.js';

const { log, lines } = collectedLog();
let api: Harness;
let stop = new AbortController();
beforeEach(async () => {
  lines.length = 0;
  stop = new AbortController();
  api = await Harness.start((harness) => (harness.log = log));
});
afterEach(async () => {
  stop.abort();
  await api[Symbol.asyncDispose]();
});

const parent = '00f067aa0ba902b7';
const traceOf = (digit: string): TraceId => digit.repeat(32) as TraceId;
const traceparent = (trace: string): Record<string, string> => ({ traceparent: `00-${trace}-${parent}-01` });
const spec = (name: string, more: object = {}): object => ({
  Name: name,
  TaskTemplate: { ContainerSpec: { Image: 'busybox', Env: ['PASSWORD=THE-SECRET'] } },
  ...more,
});
const serviceOf = (id: string): Service => {
  const found = api.store.view().get('service', id as ServiceId);
  if (!found) throw new Error(`no service ${id}`);
  return found;
};
const idOf = ({ json }: { readonly json: unknown }): string => (json as { ID: string }).ID;

test('a request that changes something is one line without what it holds, and what it wrote carries its trace', async () => {
  const path = '/v1.41/services/create?secret=THE-QUERY';
  const reply = await api.call('POST', path, spec('web'), traceparent(traceOf('a')));
  expect(reply.status).toBe(201);
  const [line, ...more] = eventsIn(lines, 'request.answered');
  expect(more).toEqual([]);
  expect(line).toEqual({
    ...{ event: 'request.answered', trace_id: traceOf('a'), parent_id: parent },
    span_id: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown,
    ...{ method: 'POST', route: '/services/create', status: 201 },
    durationMs: expect.any(Number) as unknown,
  });
  expect(JSON.stringify(lines)).not.toMatch(/THE-/);
  expect(reply.headers['traceresponse']).toBe(`00-${traceOf('a')}-${String(line?.['span_id'])}-01`);
  expect(serviceOf(idOf(reply)).trace).toBe(traceOf('a'));
  const shown = await api.call('GET', `/services/${idOf(reply)}`);
  expect(shown.text).not.toContain(traceOf('a'));
  expect(eventsIn(lines, 'request.answered')).toHaveLength(1);
});

test('a caller that sends no valid traceparent gets the answer as ever, and the request a trace of its own', async () => {
  const without = await api.call('POST', '/services/create', spec('one'));
  const wrong = await api.call('POST', '/services/create', spec('two'), { traceparent: '00-0-0-0' });
  expect([without, wrong].map(({ headers }) => headers['traceresponse'])).toEqual([undefined, undefined]);
  const traces = [without, wrong].map((reply) => serviceOf(idOf(reply)).trace);
  expect(new Set(traces).size).toBe(2);
  for (const trace of traces) expect(trace).toMatch(/^[0-9a-f]{32}$/);
  const found = eventsIn(lines, 'request.answered');
  expect(found.map(({ trace_id }) => trace_id)).toEqual(traces);
  expect(found[0]).not.toHaveProperty('parent_id');
});

test('what is refused is a line, too, with its status and the object that it was about', async () => {
  await api.call(
    'POST',
    `/services/${'x'.repeat(100)}/update?version=1`,
    spec('web'),
    traceparent(traceOf('b')),
  );
  expect(eventsIn(lines, 'request.answered')).toMatchObject([
    { status: 404, route: '/services/{}/update', object: 'x'.repeat(64), trace_id: traceOf('b') },
  ]);
});

test('an update is the trace of its service from then on; objects of before have none and are read as ever', async () => {
  const { store } = api;
  const id = await api.createService({ Name: 'web' });
  await store.update((tx) => {
    const known = tx.get('service', id as ServiceId);
    if (!known) throw new Error('no service');
    const { trace: _, ...older } = known;
    tx.update('service', older);
  });
  expect(serviceOf(id)).not.toHaveProperty('trace');
  const version = serviceOf(id).version;
  const { revision } = store.view();
  const update = await api.call(
    ...(['POST', `/services/${id}/update?version=${version}`] as const),
    ...([spec('web', { Labels: { a: 'b' } }), traceparent(traceOf('c'))] as const),
  );
  expect([update.status, serviceOf(id).trace]).toEqual([200, traceOf('c')]);
  // One write, as without.
  expect(store.view().revision).toBe(revision + 1);
});

/** What the node is told, as it reads it. */
function follow(): AssignmentsMessage[] {
  const { store } = api;
  const told: AssignmentsMessage[] = [];
  const streams = new AssignmentStreams({ store, clock: systemClock, log }, new Acknowledgements());
  const { Assignments: method } = dispatcherDefinition;
  const write = async (message: EncodedAssignmentsMessage): Promise<void> => {
    const wire = method?.responseDeserialize(method.responseSerialize(message)) as WireAssignmentsMessage;
    told.push(parseMessage(wire));
  };
  const session = { id: 's' as SessionId, nodeId, signal: stop.signal };
  streams
    .serve(session, { write, signal: stop.signal }, { takesParts: true, takesPacked: true })
    .catch(() => undefined)
    .finally(() => streams[Symbol.dispose]());
  return told;
}

test('the service that a request makes is the same trace in the lines of API, loops, scheduler and dispatcher, and at the node', async () => {
  const { store } = api;
  await store.update((tx) => {
    const known = tx.get('node', nodeId);
    if (known) tx.update('node', { ...known, dataPathAddr: '10.99.0.1' as Ip });
  });
  const random = (size: number): Uint8Array => randomBytes(size);
  const loops = runControlLoops({ store, clock: systemClock, random, log }, stop.signal);
  const told = follow();
  await expect.poll(() => told.length).toBeGreaterThan(0);
  await api.createService({ Name: 'other', Mode: { Replicated: { Replicas: 1 } } });
  const trace = traceOf('d');
  const published = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } };
  const replicas = { Mode: { Replicated: { Replicas: 2 } } };
  const id = idOf(
    await api.call(
      'POST',
      '/services/create',
      spec('web', { ...published, ...replicas }),
      traceparent(trace),
    ),
  );
  const tasks = (): readonly Task[] => store.view().tasksOfService(id as ServiceId);
  const ofTrace = (): readonly AssignmentsMessage[] => told.filter(({ traces }) => traces?.includes(trace));
  const toldTasks = (): number =>
    ofTrace().flatMap(({ changes }) =>
      changes.filter(({ assignment }) => assignment.kind === 'task' && assignment.item.task.serviceId === id),
    ).length;
  await expect.poll(toldTasks, { timeout: 10_000 }).toBe(2);
  expect(tasks().map((task) => task.trace)).toEqual([trace, trace]);

  const lineOf = (line: Readonly<Record<string, unknown>>): boolean =>
    line['trace_id'] === trace || (Array.isArray(line['trace_ids']) && line['trace_ids'].includes(trace));
  const found = eventsIn(lines).filter(lineOf);
  const names = found.map(({ event, loop }) =>
    typeof loop === 'string' ? `${String(event)} ${loop}` : event,
  );
  const wanted = [
    'request.answered',
    ...['orchestrator', 'allocator', 'scheduler'].map((loop) => `loop.committed ${loop}`),
    ...['task.scheduled', 'assignments.sent'],
  ];
  for (const name of wanted) expect(names).toContain(name);
  const scheduled = found.filter(({ event }) => event === 'task.scheduled');
  expect(scheduled).toHaveLength(2);
  expect(scheduled).toMatchObject([1, 2].map((slot) => ({ slot, service: 'web', node: nodeId })));
  // Another service's lines have another trace.
  expect(found.filter(({ service }) => service === 'other')).toEqual([]);

  // A task that has nothing to say but how it does tells nobody of a request, and costs no message more.
  const count = told.length;
  await store.update((tx) => {
    for (const task of tx.tasksOfService(id as ServiceId))
      tx.update('task', { ...task, status: { ...task.status, state: 'preparing', message: 'preparing' } });
  });
  // What is told next is told of the change after that.
  await api.call('DELETE', `/services/${id}`, undefined, traceparent(traceOf('e')));
  await expect.poll(() => told.length).toBeGreaterThan(count);
  expect(
    told
      .slice(count)
      .flatMap(({ changes }) =>
        changes.flatMap(({ assignment }) =>
          assignment.kind === 'task' &&
          assignment.item.task.serviceId === id &&
          assignment.item.task.desiredState !== 'remove'
            ? [assignment.item.id]
            : [],
        ),
      ),
  ).toEqual([]);
  stop.abort();
  await loops;
});
