/** Metrics of skep-dataplane: what the kernel of this node is to do, does, and has counted. */
import type { MetricSection } from './definition.js';
import { collectionMetrics, processMetrics } from './own-table.js';

const frontend = ['service', 'network', 'frontend'] as const;
const endpoint = [...frontend, 'task', 'node'] as const;

const balancing = {
  skep_balancer_info: {
    type: 'gauge',
    labels: ['engine'],
    unit: 'information',
    meaning: 'Always 1. `engine` is what balances here: `ipvs` or `ebpf`.',
  },
  skep_balancer_connections_total: {
    type: 'counter',
    labels: frontend,
    unit: 'connections',
    meaning: 'New flows from clients that this node gave to a task.',
  },
  skep_balancer_packets_total: {
    type: 'counter',
    labels: frontend,
    unit: 'packets',
    meaning: 'Packets from clients that this node gave to a task.',
  },
  skep_balancer_bytes_total: {
    type: 'counter',
    labels: frontend,
    unit: 'bytes',
    meaning: 'Bytes of those packets, as IP has them.',
  },
  skep_balancer_reply_packets_total: {
    type: 'counter',
    labels: frontend,
    unit: 'packets',
    meaning:
      'Packets of tasks to clients. Of published ports only: tasks behind a VIP answer their callers directly.',
  },
  skep_balancer_reply_bytes_total: {
    type: 'counter',
    labels: frontend,
    unit: 'bytes',
    meaning: 'Bytes of those packets, as IP has them.',
  },
  skep_balancer_dropped_packets_total: {
    type: 'counter',
    labels: [...frontend, 'reason'],
    unit: 'packets',
    meaning:
      'Packets that the engine itself dropped; no series for a reason without any. `fragment`: a fragment without its beginning; `collision`: a flow whose translation another flow has; `table`: the table of flows is full; `oversize`: too large for the overlay; `malformed`. Of `ebpf` only: `ipvs` counts none.',
  },
  skep_balancer_active_flows: {
    type: 'gauge',
    labels: frontend,
    unit: 'flows',
    meaning:
      'Flows that both sides have agreed on, now. With `ipvs` and many services it is some seconds old: to read it may take 1 % of a processor’s time.',
  },
  skep_balancer_unread_namespaces: {
    type: 'gauge',
    labels: [],
    unit: 'namespaces',
    meaning:
      'Namespaces whose counters could not be read for this scrape, so that their services have no series in it. A network that has just come is one for a moment.',
  },
  skep_endpoints: {
    type: 'gauge',
    labels: ['service', 'network', 'state'],
    unit: 'endpoints',
    meaning:
      'Tasks of a service in all of the cluster, as this node has been told: `serving` takes new flows; `draining` does not (it starts, stops or is unhealthy), and those it has go on; `silent` is on a node that does not answer this one. Only `serving` has a series when it is 0.',
  },
  skep_balancer_endpoint_connections_total: {
    type: 'counter',
    labels: endpoint,
    unit: 'connections',
    meaning:
      'New flows that this node gave to one task. Only with the option `per-endpoint` of `[metrics]`, as the next ones.',
  },
  skep_balancer_endpoint_packets_total: {
    type: 'counter',
    labels: endpoint,
    unit: 'packets',
    meaning: 'Packets from clients that this node gave to one task.',
  },
  skep_balancer_endpoint_bytes_total: {
    type: 'counter',
    labels: endpoint,
    unit: 'bytes',
    meaning: 'Bytes of those packets, as IP has them.',
  },
  skep_balancer_endpoint_active_flows: {
    type: 'gauge',
    labels: endpoint,
    unit: 'flows',
    meaning:
      'Flows that one task has by this node, now. One that drains has ended when it is 0 on every node.',
  },
} as const;

const programming = {
  skep_dataplane_state_revision: {
    type: 'gauge',
    labels: [],
    unit: 'revisions',
    meaning:
      'Revision of the cluster’s store that the newest state which this node was told reflects. 0: it has none.',
  },
  skep_dataplane_programmed_revision: {
    type: 'gauge',
    labels: [],
    unit: 'revisions',
    meaning: 'Revision of the newest state that the kernel was brought to.',
  },
  skep_dataplane_behind_revisions: {
    type: 'gauge',
    labels: [],
    unit: 'revisions',
    meaning:
      'The difference of the two. Revisions count every change in the cluster, so that one change for this node may be many.',
  },
  skep_dataplane_behind_seconds: {
    type: 'gauge',
    labels: [],
    unit: 'seconds',
    meaning: 'For how long the oldest change that is not programmed yet has been waiting; 0: none is.',
  },
  skep_dataplane_drift_repairs_total: {
    type: 'counter',
    labels: [],
    unit: 'operations',
    meaning: 'Operations that put back what somebody else had changed in the kernel.',
  },
  skep_dataplane_operations_total: {
    type: 'counter',
    labels: [],
    unit: 'operations',
    meaning: 'Operations done on the kernel, repairs included.',
  },
  skep_dataplane_pass_seconds: {
    type: 'histogram',
    labels: [],
    unit: 'seconds',
    meaning:
      'How long a pass over what may differ from the state took; there is one for each change and each look at the kernel.',
  },
  skep_dataplane_scope_failures_total: {
    type: 'counter',
    labels: ['scope'],
    unit: 'failures',
    meaning:
      'Times that a namespace could not be programmed in a pass; each is tried again. `scope` is `host`, `overlay`, `sandbox` (a container) or `esp`.',
  },
  skep_dataplane_scopes: {
    type: 'gauge',
    labels: ['scope', 'state'],
    unit: 'namespaces',
    meaning:
      'Namespaces by what has become of them: `programmed`, `failing`, or `pending` (not looked at yet, or waiting for the engine).',
  },
  skep_dataplane_published_ports: {
    type: 'gauge',
    labels: [],
    unit: 'ports',
    meaning: 'Ports published in the cluster, which every node answers on.',
  },
} as const;

const names = {
  skep_dns_queries_total: {
    type: 'counter',
    labels: ['type', 'outcome'],
    unit: 'questions',
    meaning:
      'Questions of containers by type (`A`, `AAAA`, `PTR`, `other`) and outcome: `answered` from the state; `empty`: a known name that has none of that type, or nobody who serves; `unknown`: nobody can know it; `isolated`: not asked of others, for all networks of the asker are internal; `forwarded` to the host’s resolvers; `refused`: no question that there is an answer to.',
  },
  skep_dns_dropped_messages_total: {
    type: 'counter',
    labels: [],
    unit: 'messages',
    meaning: 'Messages that nothing was said to: no questions, or of a node without a state.',
  },
  skep_dns_answer_seconds: {
    type: 'histogram',
    labels: ['source'],
    unit: 'seconds',
    meaning:
      'How long an answer took, from when the question was read. `state`: of every 64th question that the state answers; `resolvers`: of every one that was forwarded.',
  },
  skep_dns_listeners: {
    type: 'gauge',
    labels: ['state'],
    unit: 'listeners',
    meaning:
      'Pairs of sockets that answer, one an overlay and one a container: `open`, or `closed` while they cannot be opened.',
  },
} as const;

const nodes = {
  skep_peers: {
    type: 'gauge',
    labels: ['state'],
    unit: 'nodes',
    meaning:
      'Nodes that this one shares an overlay with: `heard`; `silent`: to whose tasks no new flow goes; `unjudged`: they have never answered yet.',
  },
  skep_peer_probes_total: {
    type: 'counter',
    labels: [],
    unit: 'questions',
    meaning: 'Questions to the kernels of those nodes whether they are there.',
  },
  skep_peer_answers_total: {
    type: 'counter',
    labels: [],
    unit: 'answers',
    meaning: 'Answers to them.',
  },
  skep_peer_silences_total: {
    type: 'counter',
    labels: [],
    unit: 'nodes',
    meaning: 'Times that a node fell silent.',
  },
  skep_esp_keys: {
    type: 'gauge',
    labels: [],
    unit: 'keys',
    meaning: 'Keys of encrypted networks that this node was given.',
  },
  skep_esp_key_sequence: {
    type: 'gauge',
    labels: [],
    unit: 'keys',
    meaning: 'Number of the key that nodes send with: it grows with each rotation. 0: there is none.',
  },
} as const;

const perFrontend =
  'Labels: `service` and `network` are names; `frontend` is `tcp/8080` for a published port (`network` is then the ingress network’s) or the VIP. The kernel keeps these counters while the service has tasks, also when the daemon is started anew; they begin at 0 when it makes a frontend anew, which Prometheus takes for a reset. A service that is gone has no series.';

export const dataplaneSections = [
  {
    title: 'Services and their flows',
    text: `What this node has balanced: each node counts what enters the cluster, or is called from containers, there. ${perFrontend}`,
    metrics: balancing,
  },
  {
    title: 'Convergence',
    text: 'How far the kernel is behind what the managers want, and what it took.',
    metrics: programming,
  },
  { title: 'Names', text: 'The name service of this node’s containers.', metrics: names },
  { title: 'Other nodes and encryption', text: 'What this node knows of the others.', metrics: nodes },
  {
    title: 'The daemon itself',
    text: 'Of its process, and of the collection of metrics.',
    metrics: { ...processMetrics, ...collectionMetrics },
  },
] as const satisfies readonly MetricSection[];

export const dataplaneMetrics = {
  ...balancing,
  ...programming,
  ...names,
  ...nodes,
  ...processMetrics,
} as const;
export type DataplaneMetrics = typeof dataplaneMetrics;
