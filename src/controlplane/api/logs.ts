/**
 * `/services/{id}/logs` and `/tasks/{id}/logs`: lines of tasks wherever they run, in stdcopy frames unless the task
 * has a terminal. Reading the lines is injected; the framing, Docker's query rules and the client's pace are ours.
 */
import { once } from 'node:events';
import { SkepError } from '../../model/errors.js';
import type { TaskId } from '../../model/ids.js';
import type { Service, Task } from '../../model/objects.js';
import type { ApiContext, Handler } from './context.js';
import { requireStore } from './context.js';
import { findService, findTask } from './lookup.js';
import type { ApiRequest } from './request.js';
import { isUnixTime } from './unix-time.js';
import type { LogLine, LogOptions, LogSubject } from '../task-logs.js';

/** stdcopy's stream for what the daemon itself has to say. */
const systemError = 3;

const detailPrefix = 'com.docker.swarm';

/** What a stdcopy frame begins with: stream, three zero bytes, length of the payload big-endian. */
function frameHeader(stream: number, size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = stream;
  bytes.writeUInt32BE(size, 4);
  return bytes;
}

/** Go's url.QueryEscape: space as `+`, everything but letters, digits and `-_.~` as %XX. */
const queryEscape = (text: string): string =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%20/g, '+');

/** How lines are written: `[timestamp SP][details SP]message`; details are sorted and always name node, service and task. */
export class LineFormat {
  /** Details of lines that the log driver says nothing of: the same for all of a task. */
  readonly #ofTask = new Map<TaskId, string>();

  constructor(
    private readonly options: {
      readonly serviceId: string;
      readonly timestamps: boolean;
      readonly details: boolean;
      /** Raw, as a terminal's output; otherwise in stdcopy frames. */
      readonly tty: boolean;
    },
  ) {}

  /** The line as it goes to the client, in parts. */
  bytes(line: LogLine): readonly Buffer[] {
    const { timestamps, details, tty } = this.options;
    const before = `${timestamps ? `${line.timestamp} ` : ''}${details ? `${this.#details(line)} ` : ''}`;
    const prefix = Buffer.from(before, 'latin1');
    if (tty) return [prefix, line.data];
    return [frameHeader(line.stream === 1 ? 1 : 2, prefix.length + line.data.length), prefix, line.data];
  }

  /** What the manager itself has to say. */
  error(message: string): Buffer {
    const payload = Buffer.from(`Error grabbing logs: ${message}\n`);
    return this.options.tty ? payload : Buffer.concat([frameHeader(systemError, payload.length), payload]);
  }

  #details({ taskId, nodeId, attrs }: LogLine): string {
    const own = Object.entries(attrs);
    const known = own.length === 0 ? this.#ofTask.get(taskId) : undefined;
    if (known !== undefined) return known;
    const attributes: [string, string][] = [
      ...own,
      [`${detailPrefix}.node.id`, nodeId],
      [`${detailPrefix}.service.id`, this.options.serviceId],
      [`${detailPrefix}.task.id`, taskId],
    ];
    const text = attributes
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, value]) => `${queryEscape(key)}=${queryEscape(value)}`)
      .join(',');
    if (own.length === 0) this.#ofTask.set(taskId, text);
    return text;
  }
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

const unreadableSince = (since: string): SkepError => {
  const parsing = `strconv.ParseInt: parsing ${JSON.stringify(since)}: invalid syntax`;
  return new SkepError('unknown', `could not parse since timestamp: ${parsing}`);
};

export const serviceLogs: Handler = async (context, request) => {
  const options = logOptions(request);
  const service = findService(requireStore(context).view(), request.param(0));
  await stream(context, request, service, { serviceId: service.id }, options);
};

export const taskLogs: Handler = async (context, request) => {
  const options = logOptions(request);
  const task = findTask(requireStore(context).view(), request.param(0));
  await stream(context, request, task, { taskId: task.id }, options);
};

async function stream(
  { readLogs, log }: ApiContext,
  request: ApiRequest,
  object: Service | Task,
  subject: LogSubject,
  options: LogOptions,
): Promise<void> {
  const wanted = { ...options, tail: tailOf(request) };
  if (!isUnixTime(options.since)) throw unreadableSince(options.since);
  const container =
    'taskTemplate' in object.spec ? object.spec.taskTemplate.container : object.spec.container;
  const { tty } = container;
  const format = new LineFormat({
    serviceId: 'serviceId' in object ? object.serviceId : object.id,
    timestamps: request.flag('timestamps'),
    details: request.flag('details'),
    tty,
  });
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
    for await (const lines of readLogs(subject, wanted, signal)) {
      await write(Buffer.concat(lines.flatMap((line) => format.bytes(line))));
    }
  } catch (err) {
    if (signal.aborted) return void reply.destroy();
    log.info({ err, object: object.id }, 'log stream failed');
    if (!reply.destroyed) reply.write(format.error(err instanceof Error ? err.message : String(err)));
  }
  reply.end();
}
