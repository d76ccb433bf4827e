/**
 * The local engine's events, line by line as it writes them: nothing is parsed and written anew, since its times are longer than
 * JavaScript's numbers. Networks of driver `skep` are told of as the overlays that they are this node's part of.
 */
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { ApiContext } from './context.js';
import { engineDown } from '../dockerd/passthrough.js';
import { instanceDriver, instances, overlayIdOf } from './network-lookup.js';
import type { ApiRequest } from './request.js';
import type { DockerEvent } from './swarm-events.js';

/** An event with many labels has some kilobytes. */
const lineBytesMax = 4 * 1024 * 1024;

export interface EngineEvent {
  readonly event: DockerEvent;
  readonly nano: bigint;
  /** As it is shown, with its newline. */
  readonly line: string;
}

/**
 * Asks the engine for all its events of a time, in its own form. Throws a retryable OutsideError when it cannot be reached.
 * @param times of the query: `since`, `until`
 */
export async function askEngineEvents(
  { engine }: ApiContext,
  { http, signal }: ApiRequest,
  times: Readonly<Record<string, string>>,
): Promise<IncomingMessage> {
  const [path = ''] = (http.url ?? '').split('?');
  return new Promise<IncomingMessage>((resolve, reject) => {
    const call = httpRequest({
      socketPath: engine.socketPath,
      path: `${path}?${new URLSearchParams(times).toString()}`,
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
}

export class EngineEvents {
  /** Of this node's instances of overlays, by the engine's id of them; those that are gone stay known. */
  readonly #overlays = new Map<string, string>();

  constructor(
    private readonly context: ApiContext,
    private readonly request: ApiRequest,
  ) {}

  /** The events of one answer, no faster than they are taken. Ends with it; throws when it breaks off. */
  async *read(answer: AsyncIterable<Buffer>): AsyncGenerator<EngineEvent, void> {
    for await (const line of lines(answer)) {
      const event = JSON.parse(line) as DockerEvent;
      const nano = BigInt(/"timeNano":(\d+)/.exec(line)?.[1] ?? 0);
      const { Type, Actor } = event;
      if (Type !== 'network' || Actor.Attributes['type'] !== instanceDriver) {
        yield { event, nano, line };
        continue;
      }
      const { ID: local, Attributes: attributes } = Actor;
      const id = (await this.#overlayOf(local, attributes['name'] ?? '')) ?? local;
      yield {
        event: { ...event, Actor: { ID: id, Attributes: { ...attributes, type: 'overlay' } } },
        nano,
        line: line
          .replace(`"ID":"${local}"`, `"ID":"${id}"`)
          .replace(`"type":"${instanceDriver}"`, '"type":"overlay"'),
      };
    }
  }

  async #overlayOf(local: string, name: string): Promise<string | undefined> {
    if (!this.#overlays.has(local))
      for (const network of await instances(this.context, this.request)) {
        const overlay = overlayIdOf(network);
        if (overlay !== undefined) this.#overlays.set(network.Id, overlay);
      }
    // It was removed before anybody asked: a manager knows the overlay by its name.
    return (
      this.#overlays.get(local) ?? this.context.control.membership().store?.view().byName('network', name)?.id
    );
  }
}

async function* lines(source: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      if (end > 0) yield rest.toString('utf8', 0, end + 1);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > lineBytesMax) throw new Error('an event of the engine is too long');
  }
}
