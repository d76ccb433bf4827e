/**
 * `/events`: the engine's stream with the swarm's own events put between its messages. Swarm events exist on
 * managers only, are made of the store's changes, and have no history: `since` reaches back in the engine's only.
 */
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Network, Node, Service } from '../../model/objects.js';
import type { Change } from '../store/store.js';
import type { Handler } from './context.js';
import { engineDown } from './engine-client.js';
import type { Filters } from './filters.js';
import { parseFilters } from './filters.js';
import { passThrough } from './passthrough.js';

/** Events queued for a client that reads too slowly; beyond it the client is cut off rather than memory filled. */
const queueLimitBytes = 4 * 1024 * 1024;

interface SwarmEvent {
  readonly Type: 'service' | 'node' | 'network';
  readonly Action: 'create' | 'update' | 'remove';
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: 'swarm';
  readonly time: number;
  readonly timeNano: number;
}

/** `x.old` and `x.new` of what changed; `.old` is left out when there was nothing. */
function changed(
  name: string,
  before: string | undefined,
  after: string | undefined,
): Record<string, string> {
  if (before === after || after === undefined) return {};
  return { ...(before === undefined ? {} : { [`${name}.old`]: before }), [`${name}.new`]: after };
}

const replicasOf = (service: Service): string | undefined =>
  service.spec.mode.kind === 'replicated' ? String(service.spec.mode.replicas) : undefined;

function serviceChanges(before: Service, after: Service): Record<string, string> {
  return {
    ...changed('image', before.spec.taskTemplate.container.image, after.spec.taskTemplate.container.image),
    ...changed('replicas', replicasOf(before), replicasOf(after)),
    ...changed('updatestate', before.updateStatus?.state, after.updateStatus?.state),
  };
}

function nodeChanges(before: Node, after: Node): Record<string, string> {
  const leader = ({ managerStatus }: Node): string | undefined =>
    managerStatus ? String(managerStatus.leader) : undefined;
  return {
    ...changed('availability', before.spec.availability, after.spec.availability),
    ...changed('role', before.role, after.role),
    ...changed('state', before.status.state, after.status.state),
    ...changed('leader', leader(before), leader(after)),
    ...changed('reachability', before.managerStatus?.reachability, after.managerStatus?.reachability),
  };
}

/** The event of one change, if it is one that Docker reports. */
export function eventOf(change: Change, nowMs: number): SwarmEvent | undefined {
  if (change.kind !== 'service' && change.kind !== 'node' && change.kind !== 'network') return undefined;
  const subject: Service | Node | Network | undefined = change.current ?? change.previous;
  if (!subject) return undefined;
  const action = !change.previous ? 'create' : !change.current ? 'remove' : 'update';
  const name =
    change.kind === 'node'
      ? ((subject as Node).description?.hostname ?? '')
      : (subject as Service | Network).spec.name;
  const details =
    change.kind === 'service' && change.previous && change.current
      ? serviceChanges(change.previous, change.current)
      : change.kind === 'node' && change.previous && change.current
        ? nodeChanges(change.previous, change.current)
        : {};
  const atMs = action === 'create' ? subject.createdAtMs : action === 'update' ? subject.updatedAtMs : nowMs;
  return {
    Type: change.kind,
    Action: action,
    Actor: { ID: change.id, Attributes: { name, ...details } },
    scope: 'swarm',
    time: Math.floor(atMs / 1000),
    timeNano: atMs * 1e6,
  };
}

/** Whether the client asked for it. */
export function wantsEvent(filters: Filters, event: SwarmEvent): boolean {
  const { Type, Action, Actor } = event;
  const subjects = [
    'service',
    'node',
    'network',
    'secret',
    'config',
    'container',
    'image',
    'volume',
    'plugin',
    'daemon',
  ];
  const { name = '', ...attributes } = Actor.Attributes;
  return (
    filters.exact('scope', 'swarm') &&
    filters.exact('type', Type) &&
    filters.exact('event', Action) &&
    filters.labels('label', attributes) &&
    // A filter by an object of another type lets nothing of this type through.
    subjects
      .filter((kind) => filters.has(kind))
      .every(
        (kind) =>
          kind === Type && filters.get(kind).some((value) => value === name || Actor.ID.startsWith(value)),
      )
  );
}

const engineKeys = [
  ...[
    'config',
    'container',
    'daemon',
    'event',
    'image',
    'label',
    'network',
    'node',
    'plugin',
    'scope',
    'secret',
  ],
  ...['service', 'type', 'volume'],
];

export const events: Handler = async (context, request) => {
  const { store } = context.control.membership();
  const { reply, http, signal } = request;
  if (!store) return passThrough(context.engine.socketPath, http, reply);
  const filters = parseFilters(request, { keys: engineKeys });

  let open = false;
  let boundary = true;
  const queue: string[] = [];
  let queuedBytes = 0;
  const flush = (): void => {
    if (!open || !boundary || queue.length === 0) return;
    const text = queue.splice(0).join('');
    queuedBytes = 0;
    reply.write(text);
  };
  const unsubscribe = store.subscribe(({ changes }) => {
    for (const change of changes) {
      const event = eventOf(change, context.clock.nowMs());
      if (!event || !wantsEvent(filters, event)) continue;
      const text = `${JSON.stringify(event)}\n`;
      queue.push(text);
      queuedBytes += text.length;
    }
    flush();
    if (queuedBytes + reply.writableLength > queueLimitBytes) reply.destroy();
  });
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const call = httpRequest({
        socketPath: context.engine.socketPath,
        path: http.url,
        headers: { Host: 'docker' },
        agent: false,
        signal,
      });
      call.on('response', resolve);
      call.on('error', reject);
      call.end();
    }).catch((cause: unknown) => {
      throw engineDown(cause);
    });
    reply.writeHead(answer.statusCode ?? 502, {
      'Content-Type': answer.headers['content-type'] ?? 'application/json',
    });
    reply.flushHeaders();
    open = answer.statusCode === 200;
    flush();
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        // The engine's messages end with a newline; one may be cut between two chunks.
        boundary = chunk[chunk.length - 1] === 0x0a;
        if (!reply.write(chunk)) await drained(reply);
        flush();
      }
    } catch {
      // One of the two is gone, and so is the stream.
      reply.destroy();
    }
  } finally {
    unsubscribe();
  }
  reply.end();
};

/** Resolves when the client has read what was written, or has gone. */
const drained = (reply: NodeJS.WritableStream): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      reply.off('drain', done);
      reply.off('close', done);
      resolve();
    };
    reply.on('drain', done);
    reply.on('close', done);
  });
