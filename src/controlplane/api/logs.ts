/**
 * `/services/{id}/logs` and `/tasks/{id}/logs`: lines of tasks wherever they run, in stdcopy frames unless the task
 * has a terminal. Reading the lines is injected; the framing, Docker's query rules and the client's pace are ours.
 */
import { once } from 'node:events';
import { SkepError } from '../../model/errors.js';
import type { Service, Task } from '../../model/objects.js';
import type { ApiContext, Handler } from './context.js';
import { requireStore } from './context.js';
import { findService, findTask } from './lookup.js';
import type { ApiRequest } from './request.js';
import type { LogLine, LogOptions } from '../task-logs.js';

/** stdcopy's stream for what the daemon itself has to say. */
const systemError = 3;

const detailPrefix = 'com.docker.swarm';

/** One stdcopy frame: stream, three zero bytes, length big-endian, payload. */
export function frame(stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

/** Go's url.QueryEscape: space as `+`, everything but letters, digits and `-_.~` as %XX. */
const queryEscape = (text: string): string =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%20/g, '+');

export interface LineFormat {
  readonly timestamps: boolean;
  readonly details: boolean;
}

/** `[timestamp SP][details SP]message`; details are sorted and always name node, service and task. */
export function formatLine(line: LogLine, serviceId: string, { timestamps, details }: LineFormat): Buffer {
  const parts: Buffer[] = [];
  if (timestamps) parts.push(Buffer.from(`${line.timestamp} `));
  if (details) {
    const attributes: [string, string][] = [
      ...Object.entries(line.attrs),
      [`${detailPrefix}.node.id`, line.nodeId],
      [`${detailPrefix}.service.id`, serviceId],
      [`${detailPrefix}.task.id`, line.taskId],
    ];
    const text = attributes
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`)
      .join(',');
    parts.push(Buffer.from(`${text} `));
  }
  return Buffer.concat([...parts, line.data]);
}

/** What the query asks for; throws with Docker's texts. */
function logOptions(request: ApiRequest): LogOptions {
  const stdout = request.flag('stdout');
  const stderr = request.flag('stderr');
  if (!stdout && !stderr)
    throw new SkepError('unknown', 'Bad parameters: you must choose at least one stream');
  return {
    stdout,
    stderr,
    follow: request.flag('follow'),
    tail: -1,
    since: request.query.get('since') ?? '',
  };
}

/** Judged after the lookup, as dockerd does. */
function tailOf(request: ApiRequest): number {
  const tail = request.query.get('tail') ?? 'all';
  if (tail === 'all' || tail === '') return -1;
  if (!/^[+-]?\d+$/.test(tail))
    throw new SkepError('unknown', 'tail value must be a positive integer or "all"');
  if (Number(tail) < 0) throw new SkepError('unknown', 'negative tail values not supported');
  return Number(tail);
}

export const serviceLogs: Handler = async (context, request) => {
  const options = logOptions(request);
  const view = requireStore(context).view();
  const service = findService(view, request.param(0));
  await stream(context, request, service, view.tasksOfService(service.id), options);
};

export const taskLogs: Handler = async (context, request) => {
  const options = logOptions(request);
  const view = requireStore(context).view();
  const task = findTask(view, request.param(0));
  await stream(context, request, task, [task], options);
};

async function stream(
  { readLogs, log }: ApiContext,
  request: ApiRequest,
  subject: Service | Task,
  tasks: readonly Task[],
  options: LogOptions,
): Promise<void> {
  const wanted = { ...options, tail: tailOf(request) };
  const container =
    'taskTemplate' in subject.spec ? subject.spec.taskTemplate.container : subject.spec.container;
  const { tty } = container;
  const serviceOf = new Map(tasks.map(({ id, serviceId }) => [id, serviceId]));
  const format = { timestamps: request.flag('timestamps'), details: request.flag('details') };
  const { reply, signal } = request;
  if (request.modern)
    reply.setHeader(
      'Content-Type',
      tty || request.minor < 42
        ? 'application/vnd.docker.raw-stream'
        : 'application/vnd.docker.multiplexed-stream',
    );
  reply.writeHead(200);
  reply.flushHeaders();
  const write = async (chunk: Buffer): Promise<void> => {
    if (!reply.write(chunk)) await once(reply, 'drain', { signal });
  };
  try {
    for await (const line of readLogs(
      tasks.map(({ id }) => id),
      wanted,
      signal,
    )) {
      const payload = formatLine(line, serviceOf.get(line.taskId) ?? '', format);
      await write(tty ? payload : frame(line.stream, payload));
    }
  } catch (err) {
    if (signal.aborted) return void reply.destroy();
    log.info({ err, subject: subject.id }, 'log stream failed');
    const message = Buffer.from(`Error grabbing logs: ${err instanceof Error ? err.message : String(err)}\n`);
    if (!reply.destroyed) reply.write(tty ? message : frame(systemError, message));
  }
  reply.end();
}
