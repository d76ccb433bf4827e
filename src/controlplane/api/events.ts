/**
 * `/events`: the engine's events and the swarm's as one stream. What the engine remembers and what this daemon remembers of the
 * swarm are merged by time; from then on events go out as they come. Filters are ours for both, since the engine knows its
 * networks of driver `skep` by other names; what of the query cannot be read the engine refuses in its own words.
 */
import { AssertionError } from 'node:assert';
import { once } from 'node:events';
import { SkepError } from '../../model/errors.js';
import type { ApiContext, Handler } from './context.js';
import { askEngineEvents, EngineEvents } from './engine-events.js';
import type { EngineEvent } from './engine-events.js';
import { eventFilters, eventRange, isWithin, wantsEvent } from './event-query.js';
import type { EventRange } from './event-query.js';
import type { Filters } from './filters.js';
import { passThrough } from '../dockerd/passthrough.js';
import type { ApiRequest } from './request.js';
import type { SwarmEvent } from './swarm-events.js';
import { formatUnixNano } from './unix-time.js';

/** What a client may be behind; beyond it the client is cut off rather than memory filled or events left out. */
const behindBytesMax = 4 * 1024 * 1024;

export const events: Handler = async (context, request) => {
  const query = readQuery(request);
  if (!query) return passThrough(context.engine.socketPath, request.http, request.reply);
  const { range, filters } = query;
  const nowNano = BigInt(context.clock.nowMs()) * 1_000_000n;
  const { sinceNano, untilNano } = range;
  const isOver = untilNano !== undefined && untilNano < nowNano;
  const pastRange: EventRange | undefined =
    (sinceNano === undefined && untilNano === undefined) || (sinceNano ?? 0n) > nowNano
      ? undefined
      : { ...range, untilNano: isOver ? untilNano : nowNano };

  using stream = new EventStream(context, request, filters);
  const ofEngine = new EngineEvents(context, request);
  // Asked first, so that nothing falls between the two answers.
  const live =
    !isOver &&
    (await askEngineEvents(context, request, {
      ...(sinceNano === undefined && !pastRange
        ? {}
        : { since: formatUnixNano(pastRange ? nowNano + 1n : (sinceNano ?? 0n)) }),
      ...(untilNano === undefined ? {} : { until: formatUnixNano(untilNano) }),
    }));
  const past =
    pastRange &&
    (await askEngineEvents(context, request, {
      since: formatUnixNano(pastRange.sinceNano ?? 0n),
      until: formatUnixNano(pastRange.untilNano ?? nowNano),
    }));
  const refused = [live, past].find((answer) => answer && answer.statusCode !== 200);
  if (refused) {
    request.reply.writeHead(refused.statusCode ?? 502, { 'Content-Type': 'application/json' });
    for await (const chunk of refused as AsyncIterable<Buffer>) request.reply.write(chunk);
    request.reply.end();
    return;
  }
  stream.begin();
  try {
    if (past) await stream.tellPast(ofEngine.read(past), pastRange);
    if (live) {
      stream.tellLive();
      for await (const event of ofEngine.read(live)) await stream.tell(event);
    }
    request.reply.end();
  } catch (err) {
    // One of the two is gone, and so is the stream.
    request.reply.destroy();
    if (err instanceof AssertionError) throw err;
  }
};

/** Undefined: to be refused by the engine. */
function readQuery(request: ApiRequest): { range: EventRange; filters: Filters } | undefined {
  const range = eventRange(request.query);
  try {
    return range && { range, filters: eventFilters(request) };
  } catch (err) {
    if (err instanceof SkepError) return undefined;
    throw err;
  }
}

const lineOf = (event: SwarmEvent): string => `${JSON.stringify(event)}\n`;
/** As it is written: the number itself may be a little beside it. */
const nanoOf = ({ timeNano }: SwarmEvent): bigint => BigInt(String(timeNano));

/** One client. The swarm's events of while it is not live yet wait here. */
class EventStream implements Disposable {
  readonly #past: readonly SwarmEvent[];
  readonly #unsubscribe: () => void;
  #waiting: string[] | undefined = [];
  #waitingBytes = 0;

  constructor(
    { swarmEvents }: Pick<ApiContext, 'swarmEvents'>,
    private readonly request: ApiRequest,
    private readonly filters: Filters,
  ) {
    const { past, unsubscribe } = swarmEvents.subscribe((event) => this.#take(event));
    this.#past = past;
    this.#unsubscribe = unsubscribe;
  }

  begin(): void {
    const { reply } = this.request;
    reply.writeHead(200, { 'Content-Type': 'application/json' });
    reply.flushHeaders();
  }

  /** Both pasts in the order of time. */
  async tellPast(engine: AsyncIterable<EngineEvent>, range: EventRange): Promise<void> {
    const ours = this.#past.filter((event) => isWithin(range, nanoOf(event)));
    for await (const event of engine) {
      while (ours[0] && nanoOf(ours[0]) <= event.nano) await this.#tellOurs(ours.shift()!);
      await this.tell(event);
    }
    for (const event of ours) await this.#tellOurs(event);
  }

  /** From now on the swarm's events are told as they come. */
  tellLive(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const line of waiting) this.request.reply.write(line);
  }

  /** Resolves when the client has room for more. */
  async tell({ event, line }: EngineEvent): Promise<void> {
    if (wantsEvent(this.filters, event)) await this.#write(line);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  async #tellOurs(event: SwarmEvent): Promise<void> {
    if (wantsEvent(this.filters, event)) await this.#write(lineOf(event));
  }

  async #write(line: string): Promise<void> {
    const { reply, signal } = this.request;
    if (!reply.write(line)) await once(reply, 'drain', { signal });
  }

  #take(event: SwarmEvent): void {
    if (!wantsEvent(this.filters, event)) return;
    const { reply } = this.request;
    const line = lineOf(event);
    if (this.#waiting) {
      this.#waiting.push(line);
      this.#waitingBytes += line.length;
    } else reply.write(line);
    if (this.#waitingBytes + reply.writableLength > behindBytesMax) reply.destroy();
  }
}
