/**
 * What the daemons write into their logs of what they decide: one row an event, one line for each decision that matters
 * (ADR 55). Lines are written by runtime/decide.ts alone, which is typed by this table; docs/logs.md is made of it. What is not
 * here (a call that is tried again, what a part is waiting for) is written as it comes and may change at any time.
 * No field is a secret, the content of a request, or of a file.
 */

type Level = 'debug' | 'info' | 'warn' | 'error';

interface EventRow {
  readonly level: Level;
  /** The daemon whose log has it. */
  readonly by: 'skepd' | 'skep-dataplane';
  /** `msg` of the line, for eyes. */
  readonly message: string;
  /** When it is written, and what follows from it. */
  readonly meaning: string;
  /** What the line has; a name that ends in ? may be missing. */
  readonly fields: Readonly<Record<string, string>>;
  /** The field that says what the line is about: of that, only so many lines are written a minute. Null: of the event as such. */
  readonly of: string | null;
  /** Lines a minute of the same; absent: {@link burstDefault}. The next line says how many were left out. */
  readonly burst?: number;
}

/** A line every six seconds is read by somebody who looks on; more is a flood. */
export const burstDefault = 10;

const task = 'Id of the task';
const service = 'Name of its service';
const node = 'Id of the node';
const err = 'What went wrong';
const failures = 'How often in a row';

export const events = {
  'request.answered': {
    ...{ level: 'info', by: 'skepd', of: 'route', burst: 600 },
    message: 'a request that may change something was answered',
    meaning:
      'Somebody asked this manager for something else than to be shown something. The trace of all that follows from it begins here.',
    fields: {
      method: 'Of HTTP',
      route: 'The path with {} for names and ids, without version and query',
      'object?': 'The name or id in the path, as the caller wrote it, 64 characters of it at most',
      status: 'Of the answer; 0: the caller hung up before there was one',
      durationMs: 'From the head of the request to the end of the answer',
      span_id: 'This call within the trace',
      'parent_id?': "The caller's call, where it sent a `traceparent`",
      'client?': 'The name in the certificate of a caller that came by TCP',
    },
  },
  'request.refused': {
    ...{ level: 'warn', by: 'skepd', of: 'client' },
    message: 'request refused',
    meaning: 'A caller on TCP asked for what its certificate does not let it do.',
    fields: {
      client: 'Name in its certificate',
      role: 'What it may do',
      'peer?': 'Where it called from',
      method: 'Of HTTP',
      path: 'What it asked for, without query',
    },
  },
  'call.refused': {
    ...{ level: 'warn', by: 'skepd', of: 'call' },
    message: 'call refused',
    meaning:
      'Somebody called the port of the managers who has no business there: no certificate, the wrong one, a wrong token.',
    fields: { call: 'Method of gRPC', peer: 'Where it came from', reason: 'As it was told' },
  },
  'leader.elected': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'leads the swarm',
    meaning: 'This manager decides from now on: its log has the decisions about tasks, nodes and updates.',
    fields: { term: 'Version of the leader object, which grows with each leader' },
  },
  'leader.lost': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'leads no more',
    meaning: 'Another manager leads, or will.',
    fields: { term: 'That has ended', why: 'What ended it' },
  },
  'node.admitted': {
    ...{ level: 'info', by: 'skepd', of: 'node' },
    message: 'node admitted',
    meaning: 'A node has joined with a join token, and has a certificate.',
    fields: { node, role: 'worker or manager' },
  },
  'node.up': {
    ...{ level: 'info', by: 'skepd', of: 'node' },
    message: 'node is ready',
    meaning: 'The node has registered and takes tasks.',
    fields: { node, host: 'Its name', was: 'Its state before' },
  },
  'node.unknown': {
    ...{ level: 'info', by: 'skepd', of: 'node' },
    message: 'node has yet to register',
    meaning:
      'A leader has begun and does not know of the node; what runs there stays. It is down if it does not come in time.',
    fields: { node, host: 'Its name', why: 'As `docker node inspect` says it' },
  },
  'node.questioned': {
    ...{ level: 'info', by: 'skepd', of: 'node' },
    message: 'other nodes do not hear a node: asking it for a sign of life',
    meaning: 'Witnesses call the node silent. It is down if it does not answer either.',
    fields: { node },
  },
  'node.down': {
    ...{ level: 'warn', by: 'skepd', of: 'node' },
    message: 'node is down',
    meaning: 'Its tasks are replaced elsewhere.',
    fields: { node, why: 'It missed its heartbeats, or no other node hears it and it owes a sign of life' },
  },
  'loop.committed': {
    ...{ level: 'info', by: 'skepd', of: 'loop', burst: 600 },
    message: 'committed',
    meaning:
      'A loop of the leader has written what it planned. The names of loops are those of ARCHITECTURE.md.',
    fields: { loop: 'Which', writes: 'Objects written', kinds: 'How many by what was done to which kind' },
  },
  'task.scheduled': {
    ...{ level: 'info', by: 'skepd', of: 'service', burst: 200 },
    message: 'task has a node',
    meaning: 'The scheduler has chosen a node, or confirmed the one that the task was made for.',
    fields: { task, service, 'slot?': 'Its number in the service', node },
  },
  'task.unplaced': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'no node for a task',
    meaning: 'The task waits until a node can take it.',
    fields: { task, service, why: 'What stood in the way, on how many nodes' },
  },
  'task.failed': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'task failed',
    meaning: 'Its node says that it ended otherwise than it should, or it is lost with its node.',
    fields: {
      task,
      service,
      'node?': node,
      state: 'failed, rejected or orphaned',
      why: 'As `docker service ps` says it',
      'exitCode?': 'Of its process',
    },
  },
  'task.restarted': {
    ...{ level: 'info', by: 'skepd', of: 'service' },
    message: 'task is replaced',
    meaning: 'A task that failed or ended gets another one in its place.',
    fields: { task, of: 'Id of the one that ended', service, delayMs: 'Until it starts, at the earliest' },
  },
  'task.moved': {
    ...{ level: 'info', by: 'skepd', of: 'service', burst: 200 },
    message: 'task moves',
    meaning: 'A task gets another one elsewhere though it has not failed.',
    fields: {
      task,
      of: 'Id of the one that it follows',
      service,
      'from?': 'Id of the node that it leaves',
      why: 'node drained, node down, node gone, or rebalanced',
    },
  },
  'task.given-up': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'task is given up',
    meaning: 'It failed, and the restart policy of its service allows no other in its place.',
    fields: { task, service, 'node?': node, why: 'As `docker service ps` says it' },
  },
  'update.started': {
    ...{ level: 'info', by: 'skepd', of: 'service' },
    message: 'update begins',
    meaning: 'Tasks of the service are replaced by such of its present spec.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'update.step': {
    ...{ level: 'info', by: 'skepd', of: 'service', burst: 200 },
    message: 'update replaces a task',
    meaning: 'The update or rollback has come to this task.',
    fields: { task, of: 'Id of the one that it replaces', service },
  },
  'update.paused': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'update is paused',
    meaning: 'Too many new tasks failed. Nothing more is replaced until the service is updated again.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'update.completed': {
    ...{ level: 'info', by: 'skepd', of: 'service' },
    message: 'update is done',
    meaning: 'All tasks are of the present spec and were watched for as long as the service asks.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'rollback.started': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'rollback begins',
    meaning:
      'The service has its previous spec again, because too many tasks of the new one failed or somebody asked.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'rollback.paused': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'rollback is paused',
    meaning: 'Tasks of the previous spec fail, too.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'rollback.completed': {
    ...{ level: 'info', by: 'skepd', of: 'service' },
    message: 'rollback is done',
    meaning: 'All tasks are of the previous spec.',
    fields: { service, why: 'As `docker service inspect` says it' },
  },
  'key.rotated': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'nodes send with another key',
    meaning: 'The key of encrypted networks was rotated.',
    fields: { sequence: 'Number of the key that is sent with', keys: 'How many are received with' },
  },
  'root.rotating': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'another root is to be trusted',
    meaning: 'Nodes get certificates of the next root.',
    fields: { root: 'SHA-256 of its certificate' },
  },
  'root.rotated': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'the root is another one',
    meaning: 'Every node has a certificate of it. Join tokens are new.',
    fields: { root: 'SHA-256 of its certificate' },
  },
  'certificate.issued': {
    ...{ level: 'info', by: 'skepd', of: 'node' },
    message: 'certificate renewed',
    meaning: 'This manager has signed a new certificate for a node.',
    fields: { node, role: 'That it is good for' },
  },
  'certificate.renewed': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'the node has a new certificate',
    meaning: 'It is used from now on.',
    fields: { notAfterMs: 'Until when it is good, ms since 1970' },
  },
  'certificate.overdue': {
    ...{ level: 'warn', by: 'skepd', of: null },
    message: 'cannot renew the certificate, will retry',
    meaning:
      'No manager has signed one. With an expired certificate the node is out of the swarm, and its tasks go on.',
    fields: { err, failures, retryMs: 'Until the next try', isExpired: 'Whether it is too late' },
  },
  'assignments.sent': {
    ...{ level: 'debug', by: 'skepd', of: 'node', burst: 600 },
    message: 'assignments sent',
    meaning: 'The dispatcher has told a node what has changed for it.',
    fields: {
      node,
      sequence: 'Number of the message in the session',
      revision: 'Of the store that it brings the node to',
    },
  },
  'barrier.waits': {
    ...{ level: 'warn', by: 'skepd', of: 'task' },
    message: 'nodes do not know of a task yet',
    meaning: "The leader has told a task's node that others have not programmed it in time.",
    fields: { task, nodes: 'Their ids', atWork: 'Whether some of them are in a session, and may soon have' },
  },
  'drain.opened': {
    ...{ level: 'info', by: 'skepd', of: 'task' },
    message: 'waiting until nobody sends to a task',
    meaning: 'The task is to stop. Its process hears of it when no node sends it new flows any more.',
    fields: { task },
  },
  'drain.passed': {
    ...{ level: 'info', by: 'skepd', of: 'task' },
    message: 'nobody sends to a task any more',
    meaning: 'Its process is stopped now.',
    fields: {
      task,
      durationMs: 'That it took',
      'missing?': 'Ids of nodes that are cut off, which are not waited for',
    },
  },
  'drain.timed-out': {
    ...{ level: 'warn', by: 'skepd', of: 'task' },
    message: 'not waiting any longer for nodes to know of the task',
    meaning:
      'Nodes that are slow, or a manager, did not answer in time. The task is stopped, or started, all the same: connections may be refused for a moment.',
    fields: { task, drained: 'True: it stops; false: it starts', durationMs: 'That was waited' },
  },
  'endpoint.withdrawn': {
    ...{ level: 'info', by: 'skepd', of: 'task' },
    message: 'task is out of balancing on this node',
    meaning: 'Its process has ended by itself: nothing is sent to it from here. Managers tell the others.',
    fields: { task },
  },
  'task.step': {
    ...{ level: 'info', by: 'skepd', of: 'task', burst: 20 },
    message: 'task step',
    meaning:
      'A task of this node has come further: `preparing` while its image is pulled, `starting`, `running`, `complete`, `shutdown`.',
    fields: { task, service, step: 'What was done', state: 'What the task is now' },
  },
  'task.step-failed': {
    ...{ level: 'warn', by: 'skepd', of: 'service' },
    message: 'task step failed',
    meaning:
      'It is tried again where that may help; else the task has failed, and the leader decides what follows.',
    fields: { task, service, step: 'What was tried', state: 'What the task is now', err },
  },
  'container.attached': {
    ...{ level: 'info', by: 'skepd', of: 'node', burst: 60 },
    message: 'container attached',
    meaning: "A user's own container has an address of the swarm's network.",
    fields: { node, attachment: 'Id of what holds the address', network: 'Id', address: 'Its own' },
  },
  'container.detached': {
    ...{ level: 'info', by: 'skepd', of: 'node', burst: 60 },
    message: 'container detached',
    meaning: 'The address is free again.',
    fields: { node, attachment: 'Id of what held it' },
  },
  'role.changed': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'this node changes its role',
    meaning: 'It was promoted or demoted.',
    fields: { role: 'What it becomes' },
  },
  'backup.taken': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'backup of the swarm taken',
    meaning: 'Somebody has a sealed copy of all that managers know.',
    fields: { revision: 'Of the store', objects: 'In it' },
  },
  'swarm.restored': {
    ...{ level: 'warn', by: 'skepd', of: null },
    message: 'swarm restored from a backup',
    meaning: 'This node is the only manager of the swarm as it was then.',
    fields: { revision: 'Of the store then', objects: 'In it', by: 'Id of this node' },
  },
  'etcd.started': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'etcd started',
    meaning: "This manager's etcd is a new process.",
    fields: { etcdPid: 'Its process', mode: 'How it begins' },
  },
  'etcd.adopted': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'etcd adopted',
    meaning: 'It went on while this daemon was not there.',
    fields: { etcdPid: 'Its process' },
  },
  'etcd.gone': {
    ...{ level: 'error', by: 'skepd', of: null },
    message: 'etcd is gone, will be started again',
    meaning: 'Its process has ended, and nobody asked it to.',
    fields: { etcdPid: 'What it was', failures },
  },
  'store.defragmented': {
    ...{ level: 'info', by: 'skepd', of: null },
    message: 'store defragmented',
    meaning: 'The file of etcd is as small as it can be.',
    fields: { fromBytes: 'Before', toBytes: 'After', tookMs: 'While etcd answered nobody' },
  },
  'engine.chosen': {
    ...{ level: 'info', by: 'skep-dataplane', of: null },
    message: 'balancer engine chosen',
    meaning: 'What balances on this node until the daemon is started anew.',
    fields: { engine: 'ipvs or ebpf' },
  },
  'kernel.programmed': {
    ...{ level: 'info', by: 'skep-dataplane', of: null, burst: 600 },
    message: 'kernel programmed',
    meaning: 'A pass has changed the kernel. Each operation is in a line of its own at the level debug.',
    fields: {
      revision: 'Of the state that it followed; null: the node has left',
      ops: 'Operations done',
      kinds: 'How many by what was done to which kind of object',
      scopes: 'The namespaces in which, eight of them at most',
      durationMs: 'Of the pass',
    },
  },
  'kernel.failed': {
    ...{ level: 'warn', by: 'skep-dataplane', of: 'scope' },
    message: 'not programmed, will retry',
    meaning: 'The kernel refused an operation, or could not be read. The other namespaces are not held up.',
    fields: { scope: 'The namespace', failures, err },
  },
  'drift.repaired': {
    ...{ level: 'warn', by: 'skep-dataplane', of: 'scope' },
    message: 'drift repaired',
    meaning: 'Somebody else had changed what is ours in the kernel, and it was put right.',
    fields: { scope: 'The namespace', count: 'Operations done', ops: 'The first of them' },
  },
  'node.silent': {
    ...{ level: 'warn', by: 'skep-dataplane', of: null },
    message: 'nodes are silent: their tasks get no new flows',
    meaning: 'Their kernels do not answer this one. Managers are told with the next heartbeat.',
    fields: { nodes: 'Their ids' },
  },
  'node.heard': {
    ...{ level: 'info', by: 'skep-dataplane', of: null },
    message: 'nodes are no longer silent',
    meaning: 'Their tasks get new flows again.',
    fields: { nodes: 'Their ids' },
  },
  'driver.refused': {
    ...{ level: 'warn', by: 'skep-dataplane', of: 'method' },
    message: 'refused the engine',
    meaning:
      'The engine asked the network driver for what it cannot have; a container does not start for it.',
    fields: { method: "Of Docker's plugin API", err },
  },
} as const satisfies Record<string, EventRow>;

export type EventName = keyof typeof events;

/** What a field can be. */
export type EventValue =
  string | number | boolean | null | Error | readonly string[] | Readonly<Record<string, number>>;

type Fields<E extends EventName> = (typeof events)[E]['fields'];

/** What a line of the event has to have, and may have. */
export type EventFields<E extends EventName> = {
  readonly [K in keyof Fields<E> as K extends `${string}?` ? never : K]: EventValue;
} & {
  readonly [K in keyof Fields<E> as K extends `${infer Name}?` ? Name : never]?: EventValue | undefined;
};

/** The row of an event, whichever it is; undefined for what is none. */
export const eventRow = (event: string): EventRow | undefined =>
  Object.hasOwn(events, event) ? events[event as EventName] : undefined;
