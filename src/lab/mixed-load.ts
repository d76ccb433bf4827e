/**
 * The mixed load of a lab's client: requests on connections of their own, requests on connections that are kept, and streams
 * that last twenty seconds, at fixed rates over services and nodes, with an account of every one that failed. It lasts until
 * standard input ends; then what is under way is awaited and one {@link MixedReport} is printed as JSON.
 *
 * `node mixed-load.js NEW_PER_SECOND KEPT_PER_SECOND STREAMS_PER_SECOND SILENCE_MS SERVICE=URL,URL… …`, where SILENCE_MS is the
 * longest silence before an answer, or within one. A line `leave SERVICE` on standard input ends requests to a service but for the
 * streams under way, and is answered with `left SERVICE`.
 */
import { Agent, get } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

type Kind = 'new' | 'kept' | 'stream';

/** What became of the requests. */
export interface MixedReport {
  /** Answered, by kind. */
  readonly answered: Readonly<Record<Kind, number>>;
  /** When it began, in ms since the epoch. */
  readonly startedAtMs: number;
  /** How long requests were begun. */
  readonly ms: number;
  /** `atMs` counts from the start of the load. */
  readonly failures: ReadonlyArray<MixedFailure>;
}

export interface MixedFailure {
  readonly kind: Kind;
  readonly url: string;
  /** When it was sent, and when it failed. */
  readonly atMs: number;
  readonly failedMs: number;
  readonly reason: string;
}

const tickMs = 10;

interface Service {
  readonly name: string;
  readonly urls: readonly string[];
  /** One connection each, by URL. */
  readonly kept: readonly Agent[];
  left: boolean;
  /** Short requests under way. */
  pending: number;
}

const [, , newPerSecond = '', keptPerSecond = '', streamsPerSecond = '', silence = '', ...args] =
  process.argv;
const silenceMs = Number(silence);
const services = args.map((text): Service => {
  const [name = '', urls = ''] = text.split('=');
  const list = urls.split(',');
  const kept = list.map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  return { name, urls: list, kept, left: false, pending: 0 };
});

const answered = { new: 0, kept: 0, stream: 0 };
const failures: MixedFailure[] = [];
const startedAtMs = Date.now();
const startMs = performance.now();
const sinceStartMs = (): number => Math.round(performance.now() - startMs);
const open = new Set<Promise<void>>();
const turns = { new: 0, kept: 0, stream: 0 };

/** Resolves with the whole answer. */
const call = (url: string, agent: Agent | false): Promise<string> =>
  new Promise((resolve, reject) => {
    const request = get(url, { agent, timeout: silenceMs }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.once('error', reject);
      response.once('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`status ${response.statusCode}`)),
      );
    });
    request.once('timeout', () => request.destroy(new Error(`silent for ${silenceMs} ms`)));
    request.once('error', reject);
  });

async function one(kind: Kind, service: Service, at: number): Promise<void> {
  const url = service.urls[at] ?? '';
  const atMs = sinceStartMs();
  if (kind !== 'stream') service.pending += 1;
  try {
    if (kind === 'stream') {
      const text = await call(`${url}stream`, false);
      if (!text.endsWith('\nend\n')) throw new Error(`a stream without its end, ${text.length} octets`);
    } else await call(url, kind === 'kept' ? (service.kept[at] ?? false) : false);
    answered[kind] += 1;
  } catch (err) {
    const { message, code } = err as NodeJS.ErrnoException;
    failures.push({ kind, url, atMs, failedMs: sinceStartMs(), reason: `${code ?? ''} ${message}`.trim() });
  } finally {
    if (kind !== 'stream') service.pending -= 1;
  }
}

function begin(kind: Kind): void {
  const there = services.filter(({ left }) => !left);
  const turn = turns[kind]++;
  const service = there[turn % there.length];
  if (!service) return;
  const request = one(kind, service, Math.floor(turn / there.length) % service.urls.length);
  open.add(request);
  void request.finally(() => open.delete(request));
}

/** Begins what is due until told to end: late ones are made up for, so that a stall shows as such. */
async function load(isOver: () => boolean): Promise<void> {
  const rates = { new: Number(newPerSecond), kept: Number(keptPerSecond), stream: Number(streamsPerSecond) };
  const begun = { new: 0, kept: 0, stream: 0 };
  while (!isOver()) {
    for (const kind of ['new', 'kept', 'stream'] as const)
      for (const due = (sinceStartMs() / 1000) * rates[kind]; begun[kind] < due; begun[kind]++) begin(kind);
    await delay(tickMs);
  }
}

async function leave(name: string): Promise<void> {
  const service = services.find((each) => each.name === name);
  if (!service) throw new Error(`no service ${name}`);
  service.left = true;
  while (service.pending > 0) await delay(tickMs);
  for (const agent of service.kept) agent.destroy();
  process.stdout.write(`left ${name}\n`);
}

let over = false;
const input = createInterface({ input: process.stdin });
input.on('line', (line) => void leave(line.replace(/^leave /, '')));
input.on('close', () => (over = true));
await load(() => over);
const ms = sinceStartMs();
await Promise.all(open);
const report: MixedReport = { answered, startedAtMs, ms, failures };
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
