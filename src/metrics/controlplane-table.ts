/** Metrics of skepd: the cluster as its leader has it, this node's manager, its API. */
import type { MetricSection } from './definition.js';
import { collectionMetrics, processMetrics } from './own-table.js';

const cluster = {
  skep_tasks: {
    type: 'gauge',
    labels: ['service', 'state'],
    unit: 'tasks',
    meaning:
      'Tasks of a service by their observed state, as `docker service ps` shows it: those that have ended are there for as long as the history keeps them. No series for a state that none is in.',
  },
  skep_service_desired_tasks: {
    type: 'gauge',
    labels: ['service'],
    unit: 'tasks',
    meaning: 'Tasks that a replicated service is to have.',
  },
  skep_objects: {
    type: 'gauge',
    labels: ['kind'],
    unit: 'objects',
    meaning:
      'Objects in the store: `service`, `task`, `node`, `network`, `secret`, `config`. Attachments of users’ containers are tasks.',
  },
  skep_nodes: {
    type: 'gauge',
    labels: ['role', 'state', 'availability'],
    unit: 'nodes',
    meaning: 'Nodes of the cluster. No series for what none is.',
  },
  skep_managers: {
    type: 'gauge',
    labels: ['reachability'],
    unit: 'managers',
    meaning: 'Managers by whether they are alive: `reachable`, `unreachable` or `unknown`.',
  },
  skep_scheduler_waiting_tasks: {
    type: 'gauge',
    labels: ['reason'],
    unit: 'tasks',
    meaning:
      'Tasks that have no node. `addresses`: they wait for their addresses; `undecided`: nobody has looked at them yet; the others are why most nodes cannot take them: `availability`, `resources`, `plugin`, `constraints`, `platform`, `host_access`, `host_port`, `max_replicas`, `no_node` (there is none), `other`.',
  },
  skep_scheduler_decisions_total: {
    type: 'counter',
    labels: ['outcome'],
    unit: 'tasks',
    meaning:
      'What the scheduler has decided of tasks: `assigned` to a node it chose, `confirmed` on the node they were made for, `unplaced` for a reason that is new, `ended` before they had a node.',
  },
  skep_loop_pass_seconds: {
    type: 'histogram',
    labels: ['loop'],
    unit: 'seconds',
    meaning: 'How long a pass of a control loop took, its commits included.',
  },
  skep_loop_pass_failures_total: {
    type: 'counter',
    labels: ['loop'],
    unit: 'passes',
    meaning: 'Passes that failed; each is made again.',
  },
  skep_loop_writes_total: {
    type: 'counter',
    labels: ['loop'],
    unit: 'objects',
    meaning: 'Objects that a control loop has created, changed or deleted.',
  },
  skep_dispatcher_sessions: {
    type: 'gauge',
    labels: [],
    unit: 'sessions',
    meaning: 'Nodes that are connected to this manager, which leads.',
  },
  skep_dispatcher_assignment_messages_total: {
    type: 'counter',
    labels: [],
    unit: 'messages',
    meaning: 'Messages with which nodes were told what is to run, and what their networks are to be.',
  },
  skep_dispatcher_assignment_bytes_total: {
    type: 'counter',
    labels: [],
    unit: 'bytes',
    meaning: 'Bytes of what those messages carry.',
  },
  skep_dispatcher_acknowledgement_seconds: {
    type: 'histogram',
    labels: [],
    unit: 'seconds',
    meaning: 'From when a change was sent to a node until it said that its kernel is programmed accordingly.',
  },
  skep_dispatcher_unacknowledged_nodes: {
    type: 'gauge',
    labels: [],
    unit: 'nodes',
    meaning: 'Nodes that have not yet said so of something that they were sent.',
  },
  skep_dispatcher_unacknowledged_seconds: {
    type: 'gauge',
    labels: [],
    unit: 'seconds',
    meaning: 'For how long the one that has waited longest has; 0: none does.',
  },
  skep_dispatcher_behind_revisions: {
    type: 'gauge',
    labels: [],
    unit: 'revisions',
    meaning:
      'By how many revisions of the store the node that is furthest behind is, among those that are connected.',
  },
} as const;

const manager = {
  skep_leader: {
    type: 'gauge',
    labels: [],
    unit: 'managers',
    meaning: '1 on the manager that leads, 0 on the others; their sum over the cluster is 1.',
  },
  skep_leader_terms_total: {
    type: 'counter',
    labels: [],
    unit: 'terms',
    meaning: 'Times that this manager began to lead.',
  },
  skep_leaderless_seconds: {
    type: 'gauge',
    labels: [],
    unit: 'seconds',
    meaning:
      'For how long this manager has known of nobody who leads the managers’ store (Raft); 0: somebody does.',
  },
  skep_store_revision: {
    type: 'gauge',
    labels: [],
    unit: 'revisions',
    meaning:
      'Revision of the store that this manager has come to. One that stays behind the others’ does not hear of changes.',
  },
  skep_etcd_request_seconds: {
    type: 'histogram',
    labels: ['operation'],
    unit: 'seconds',
    meaning:
      'Calls of this manager to its etcd, how long they took. `txn` is a write with all that it waits for.',
  },
  skep_etcd_request_failures_total: {
    type: 'counter',
    labels: ['operation', 'code'],
    unit: 'requests',
    meaning: 'Calls that failed, by gRPC’s name for how. Those that may pass are made again.',
  },
  skep_etcd_database_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning: 'Size of the file of this manager’s store.',
  },
  skep_etcd_used_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning: 'What of it holds something.',
  },
  skep_etcd_quota_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning: 'What the store may hold. From 80 % on nothing is created any more.',
  },
  skep_etcd_disk_free_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning: 'What is left on the disk under it.',
  },
  skep_etcd_alarm: {
    type: 'gauge',
    labels: ['alarm'],
    unit: 'alarms',
    meaning:
      '1: `full`, the store takes nothing but removals; `corrupt`, the managers hold different things. `docker info` says what to do.',
  },
} as const;

const node = {
  skep_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    labels: ['certificate'],
    unit: 'seconds',
    meaning:
      'When a certificate expires, since 1970 began: `node`, this node’s own, which is renewed between 50 and 80 % of its time; on managers `root`, the cluster’s.',
  },
  skep_api_requests_total: {
    type: 'counter',
    labels: ['method', 'status', 'handler'],
    unit: 'requests',
    meaning:
      'Requests to the Docker API of this node that are over, by method, class of the status (`2xx`; `cut`: the client went first) and who answered: `swarm`, the local `engine`, or another `node`. Those that change protocol (attach, exec) are not counted.',
  },
  skep_api_request_seconds: {
    type: 'histogram',
    labels: ['handler'],
    unit: 'seconds',
    meaning:
      'How long they took to their last byte. Streams that are followed (logs, events, attached containers) take as long as they are.',
  },
} as const;

export const controlplaneSections = [
  {
    title: 'The cluster',
    text: 'On the manager that leads only, so that a sum over all managers counts nothing twice. Counters of loops and the dispatcher stay while another one leads.',
    metrics: cluster,
  },
  { title: 'Managers', text: 'On every manager, of itself.', metrics: manager },
  { title: 'Nodes', text: 'On every node.', metrics: node },
  {
    title: 'The daemon itself',
    text: 'Of its process, and of the collection of metrics.',
    metrics: { ...processMetrics, ...collectionMetrics },
  },
] as const satisfies readonly MetricSection[];

export const controlplaneMetrics = { ...cluster, ...manager, ...node, ...processMetrics } as const;
export type ControlplaneMetrics = typeof controlplaneMetrics;
