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
import { isUnixTime } from './unix-time.js';
import { headerBytes, lineEnd, textStart, timestampBytes, writeHeader } from '../packed-lines.js';
import type { LogOptions, LogSubject, TaskLines } from '../task-logs.js';

/** stdcopy's stream for what the daemon itself has to say. */
const systemError = 3;

const detailPrefix = 'com.docker.swarm';
/** Kept at most: those of all tasks of a service, as a rule. */
const detailsMax = 10_000;

/** Go's url.QueryEscape: space as `+`, everything but letters, digits and `-_.~` as %XX. */
const queryEscape = (text: string): string =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%20/g, '+');

const queryUnescape = (text: string): string => {
  try {
    return decodeURIComponent(text.replace(/\+/g, ' '));
  } catch {
    return text;
  }
};

/** How lines are written: `[timestamp SP][details SP]message`; details are sorted and always name node, service and task. */
export class LineFormat {
  /** Details of a task's lines, by what the log driver says of them: mostly nothing. */
  #details = new Map<string, Buffer>();

  constructor(
    private readonly options: {
      readonly serviceId: string;
      readonly timestamps: boolean;
      readonly details: boolean;
      /** Raw, as a terminal's output; otherwise in stdcopy frames. */
      readonly tty: boolean;
    },
  ) {}

  /** The lines as they go to the client. */
  bytes(lines: readonly TaskLines[]): Buffer {
    const size = lines.reduce((sum, each) => sum + this.#write(each, undefined, 0), 0);
    const target = Buffer.allocUnsafe(size);
    lines.reduce((at, each) => this.#write(each, target, at), 0);
    return target;
  }

  /** @param target absent: only measures. @returns where the next lines are to be written */
  #write(lines: TaskLines, target: Buffer | undefined, into: number): number {
    const { timestamps, details, tty } = this.options;
    const { packed } = lines;
    for (let at = 0, end; at < packed.length; at = end) {
      end = lineEnd(packed, at);
      const text = textStart(packed, at, end);
      const detailsText = details ? this.#detailsOf(lines, at, text) : undefined;
      const size = (timestamps ? timestampBytes + 1 : 0) + (detailsText?.length ?? 0) + end - text;
      const begin = into;
      into += (tty ? 0 : headerBytes) + size;
      if (!target) continue;
      let to = begin;
      if (!tty) {
        writeHeader(target, to, packed[at] === 1 ? 1 : 2, size);
        to += headerBytes;
      }
      const stamp = at + headerBytes;
      if (timestamps) to += packed.copy(target, to, stamp, stamp + timestampBytes + 1);
      if (detailsText) to += detailsText.copy(target, to);
      packed.copy(target, to, text, end);
    }
    return into;
  }

  /** What the manager itself has to say. */
  error(message: string): Buffer {
    const payload = Buffer.from(`Error grabbing logs: ${message}\n`);
    if (this.options.tty) return payload;
    const header = Buffer.alloc(headerBytes);
    writeHeader(header, 0, systemError, payload.length);
    return Buffer.concat([header, payload]);
  }

  /** The details of the line at the offset, whose text begins at the other, with the space behind them. */
  #detailsOf({ taskId, nodeId, packed }: TaskLines, at: number, text: number): Buffer {
    const own = packed.toString('latin1', at + headerBytes + timestampBytes + 1, text - 1);
    const key = own === '' ? taskId : `${taskId} ${own}`;
    const known = this.#details.get(key);
    if (known) return known;
    const pairs = own === '' ? [] : own.split(',').map((pair) => pair.split('='));
    const attributes: [string, string][] = [
      ...pairs.map(([name = '', value = '']): [string, string] => [
        queryUnescape(name),
        queryUnescape(value),
      ]),
      [`${detailPrefix}.node.id`, nodeId],
      [`${detailPrefix}.service.id`, this.options.serviceId],
      [`${detailPrefix}.task.id`, taskId],
    ];
    const told = attributes
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([name, value]) => `${queryEscape(name)}=${queryEscape(value)}`)
      .join(',');
    const bytes = Buffer.from(`${told} `, 'latin1');
    if (this.#details.size >= detailsMax) this.#details = new Map();
    this.#details.set(key, bytes);
    return bytes;
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
    for await (const lines of readLogs(subject, wanted, signal)) await write(format.bytes(lines));
  } catch (err) {
    if (signal.aborted) return void reply.destroy();
    log.info({ err, object: object.id }, 'log stream failed');
    if (!reply.destroyed) reply.write(format.error(err instanceof Error ? err.message : String(err)));
  }
  reply.end();
}
