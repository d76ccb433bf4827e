/** What a scrape of skepd says: of the cluster in the store, of this manager, and of what was counted. */
import { status } from '@grpc/grpc-js';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { createRootCa, validityOf } from '../../../src/controlplane/ca/certificates.js';
import { Acknowledgements } from '../../../src/controlplane/dispatcher/acknowledgements.js';
import type { DispatcherFigures } from '../../../src/controlplane/dispatcher/manager-services.js';
import type { Session } from '../../../src/controlplane/dispatcher/sessions.js';
import { EtcdError } from '../../../src/controlplane/etcd/channel.js';
import { ControlplaneCounts } from '../../../src/controlplane/metrics/counts.js';
import type { ControlplaneSources } from '../../../src/controlplane/metrics/controlplane-metrics.js';
import { controlplaneMetricsOf } from '../../../src/controlplane/metrics/controlplane-metrics.js';
import { waitingReason } from '../../../src/controlplane/metrics/waiting-reason.js';
import { filters } from '../../../src/controlplane/scheduler/filters.js';
import type { NodeId, SessionId } from '../../../src/model/ids.js';
import type { Task } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { attachment, cluster, network, node, service, storeOf, task } from '../../support/cluster-objects.js';

const web = service('web', { mode: { kind: 'replicated', replicas: 3 } });
const agent = service('agent', { mode: { kind: 'global' } });
const sessions: DispatcherFigures = { sessions: 2, unacknowledged: 1, oldestMs: 250, leastReached: 1 };
const quiet = { leaderlessMs: () => 0, storeState: () => undefined };

async function scraped(sources: Partial<ControlplaneSources>): Promise<string[]> {
  const metrics = controlplaneMetricsOf(
    { counts: { put: () => undefined }, manager: () => undefined, identity: () => undefined, ...sources },
    { clock: systemClock, log: pino({ level: 'silent' }) },
  );
  const lines = (await metrics.text()).split('\n');
  expect(lines.filter((line) => /^skep_metrics_collection_failures_total.* [1-9]/.test(line))).toEqual([]);
  return lines.filter((line) => line !== '' && !/^(#|skep_(process|build|metrics)_)/.test(line));
}

describe('the cluster', async () => {
  const waiting = (id: string, err: string): Task => {
    const one = task(id, web, 'pending');
    return { ...one, status: { ...one.status, err } };
  };
  const store = await storeOf({
    cluster: [cluster({ rootCa: await createRootCa(Date.now()) })],
    node: [node('a'), node('b'), node('c', { state: 'down', availability: 'drain' })],
    network: [network('net')],
    service: [web, agent],
    task: [
      task('t1', web, 'running', { node: 'a' }),
      task('t2', web, 'running', { node: 'b' }),
      task('t3', web, 'failed', { node: 'b' }),
      task('t4', agent, 'new'),
      waiting(
        't5',
        'no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)',
      ),
      attachment('t6', 'a', { networkId: 'net', address: '10.0.0.9' }),
    ],
  });

  test('is told by its leader: tasks, nodes, what waits and for what, how far nodes are', async () => {
    const { revision } = store.view();
    const lines = await scraped({ manager: () => ({ store, dispatcher: () => sessions, ...quiet }) });
    expect(lines.filter((line) => !line.startsWith('skep_certificate')).sort()).toEqual(
      [
        'skep_objects{kind="service"} 2',
        'skep_objects{kind="task"} 6',
        'skep_objects{kind="node"} 3',
        'skep_objects{kind="network"} 1',
        'skep_objects{kind="secret"} 0',
        'skep_objects{kind="config"} 0',
        'skep_tasks{service="web",state="running"} 2',
        'skep_tasks{service="web",state="failed"} 1',
        'skep_tasks{service="web",state="pending"} 1',
        'skep_tasks{service="agent",state="new"} 1',
        'skep_service_desired_tasks{service="web"} 3',
        'skep_nodes{role="worker",state="ready",availability="active"} 2',
        'skep_nodes{role="worker",state="down",availability="drain"} 1',
        'skep_scheduler_waiting_tasks{reason="addresses"} 1',
        'skep_scheduler_waiting_tasks{reason="resources"} 1',
        'skep_dispatcher_sessions 2',
        'skep_dispatcher_unacknowledged_nodes 1',
        'skep_dispatcher_unacknowledged_seconds 0.25',
        `skep_dispatcher_behind_revisions ${revision - 1}`,
        'skep_leader 1',
        'skep_leaderless_seconds 0',
        `skep_store_revision ${revision}`,
      ].sort(),
    );
  });

  test('is not told by who does not lead, so that nothing is there twice', async () => {
    const lines = await scraped({
      manager: () => ({
        store,
        dispatcher: () => undefined,
        leaderlessMs: () => 1500,
        storeState: () => ({
          ...{ revision: 9, databaseBytes: 400, usedBytes: 300, quotaBytes: 1000, diskFreeBytes: Infinity },
          ...{ isFull: true, isCorrupt: false, hasDirectory: true },
        }),
      }),
    });
    expect(lines.filter((line) => !line.startsWith('skep_certificate'))).toEqual([
      'skep_leader 0',
      'skep_leaderless_seconds 1.5',
      `skep_store_revision ${store.view().revision}`,
      'skep_etcd_database_bytes 400',
      'skep_etcd_used_bytes 300',
      'skep_etcd_quota_bytes 1000',
      'skep_etcd_alarm{alarm="full"} 1',
      'skep_etcd_alarm{alarm="corrupt"} 0',
    ]);
  });

  test('has certificates that expire, on workers their own', async () => {
    const root = store.view().cluster().rootCa.certPem;
    const at = validityOf(root).notAfterMs / 1000;
    const line = (name: string): string =>
      `skep_certificate_expiry_timestamp_seconds{certificate="${name}"} ${at}`;
    const identity = (): { certPem: string } => ({ certPem: root });
    expect(await scraped({ identity })).toEqual([line('node')]);
    const manager = () => ({ store, dispatcher: () => undefined, ...quiet });
    expect(await scraped({ identity, manager })).toEqual(
      expect.arrayContaining([line('node'), line('root')]),
    );
    expect(await scraped({})).toEqual([]);
  });
});

describe('why a task waits', () => {
  test('is one word for each filter, whatever the numbers', () => {
    const reasons = filters.map(({ explain }) => [
      ...[1, 7].map((nodes) =>
        waitingReason({ state: 'pending', err: `no suitable node (${explain(nodes)})` }),
      ),
      waitingReason({ state: 'pending', err: explain(1) }),
    ]);
    expect(reasons.map((words) => new Set(words).size)).toEqual(filters.map(() => 1));
    const words = reasons.map(([word]) => word);
    expect([new Set(words).size, words.includes('other')]).toEqual([filters.length, false]);
  });

  test.each<[state: 'new' | 'pending', err: string | undefined, reason: string]>([
    ['new', undefined, 'addresses'],
    ['pending', undefined, 'undecided'],
    ['pending', 'no suitable node', 'no_node'],
    ['pending', 'something else', 'other'],
  ])('%s, %j: %s', (state, err, reason) => {
    expect(waitingReason({ state, ...(err !== undefined && { err }) })).toBe(reason);
  });
});

test('what is counted has few labels, and never goes back', async () => {
  const counts = new ControlplaneCounts();
  const failure = new EtcdError('txn', status.UNAVAILABLE, 'gone', undefined);
  counts.onEtcdCall('range /skep/task/', 2);
  counts.onEtcdCall('range skep/', 2);
  counts.onEtcdCall('get /skep/turn/one', 2);
  counts.onEtcdCall('move leader', 1);
  counts.onEtcdCall('txn', 700, failure);
  counts.onRequest({ method: 'GET', status: 200, handler: 'swarm', tookMs: 3 });
  counts.onRequest({ method: 'GET', status: 204, handler: 'swarm', tookMs: 3 });
  counts.onRequest({ method: 'BREW', status: null, handler: 'engine', tookMs: 3 });
  counts.dispatcher.sent(100);
  counts.dispatcher.sent(20);
  counts.dispatcher.acknowledged(40);
  counts.loops.failed('reaper');
  counts.onTerm();
  const lines = await scraped({ counts });
  expect(lines.filter((line) => !/_bucket|_sum/.test(line)).sort()).toEqual(
    [
      'skep_api_request_seconds_count{handler="swarm"} 2',
      'skep_api_request_seconds_count{handler="engine"} 1',
      'skep_api_requests_total{method="GET",status="2xx",handler="swarm"} 2',
      'skep_api_requests_total{method="other",status="cut",handler="engine"} 1',
      'skep_dispatcher_acknowledgement_seconds_count 1',
      'skep_dispatcher_assignment_bytes_total 120',
      'skep_dispatcher_assignment_messages_total 2',
      'skep_etcd_request_failures_total{operation="txn",code="UNAVAILABLE"} 1',
      'skep_etcd_request_seconds_count{operation="move_leader"} 1',
      'skep_etcd_request_seconds_count{operation="get"} 1',
      'skep_etcd_request_seconds_count{operation="range"} 2',
      'skep_etcd_request_seconds_count{operation="txn"} 1',
      'skep_leader_terms_total 1',
      'skep_loop_pass_failures_total{loop="reaper"} 1',
    ].sort(),
  );
  expect(lines).toContain('skep_etcd_request_seconds_bucket{le="1",operation="txn"} 1');
});

test('how long nodes take to acknowledge, and which have not', () => {
  let nowMs = 0;
  const took: number[] = [];
  const acknowledgements = new Acknowledgements({ steadyMs: () => nowMs }, (tookMs) => took.push(tookMs));
  const [one, two] = ['n1', 'n2'].map((id): Session => ({
    id: `s-${id}` as SessionId,
    nodeId: id as NodeId,
    signal: new AbortController().signal,
  })) as [Session, Session];
  expect(acknowledgements.figures()).toEqual({ unacknowledged: 0, oldestMs: 0, leastReached: Infinity });
  for (const session of [one, two]) {
    acknowledgements.begin(session);
    acknowledgements.sending(session, 5);
  }
  nowMs = 30;
  acknowledgements.acknowledge(one, 5);
  expect(took).toEqual([30]);
  acknowledgements.sending(one, 7);
  nowMs = 100;
  expect(acknowledgements.figures()).toEqual({ unacknowledged: 2, oldestMs: 100, leastReached: -1 });
  acknowledgements.acknowledge(two, 5);
  expect(acknowledgements.figures()).toEqual({ unacknowledged: 1, oldestMs: 70, leastReached: 5 });
  acknowledgements.acknowledge(one, 7);
  expect([took, acknowledgements.figures().unacknowledged]).toEqual([[30, 100, 70], 0]);
});
