/** Calls to both services by every way there is, all the time; who answers is noted, who does not is nobody's matter here. */
import { setTimeout as sleep } from 'node:timers/promises';
import { vtepOf } from '../unit/dataplane/plan/network-state.js';
import type { FaultWorld, ServiceName } from './fault-world.js';
import { containers, nodes, services, targetPorts, vipOf } from './fault-world.js';
import type { Answer, Identity, Peer, Target } from './peer.js';
import { isFailure } from './peer.js';

interface Way {
  readonly from: Peer;
  readonly to: ServiceName;
  readonly protocol: 'tcp' | 'udp';
  readonly target: Target;
}

export class Traffic implements AsyncDisposable {
  #on = true;
  #answered = 0;
  readonly #wrong: string[] = [];
  readonly #loops: Promise<void>[];

  /**
   * @param together calls of one way at once
   * @param gapMs until the next ones
   */
  constructor(
    world: FaultWorld,
    private readonly together: number,
    private readonly gapMs: number,
  ) {
    const both = ['tcp', 'udp'] as const;
    const names = Object.keys(services) as ServiceName[];
    const ways = names.flatMap((to): Way[] => [
      ...nodes.flatMap((node) =>
        both.map((protocol): Way => {
          const target = { host: vtepOf(node), port: services[to][protocol] };
          return { from: world.peer('client'), to, protocol, target };
        }),
      ),
      // From a task of the other service.
      ...both.map((protocol): Way => {
        const from = world.peer(to === 'web' ? 'c5' : 'c4');
        return { from, to, protocol, target: { host: vipOf(to), port: targetPorts[protocol] } };
      }),
    ]);
    this.#loops = ways.map((way) => this.#call(way));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Resolves when the last call has ended. */
  async stop(): Promise<{ readonly answered: number; readonly wrong: readonly string[] }> {
    this.#on = false;
    await Promise.all(this.#loops);
    return { answered: this.#answered, wrong: this.#wrong };
  }

  async #call({ from, to, protocol, target }: Way): Promise<void> {
    const tasks = containers.filter(({ service }) => service === to).map(({ part }) => `c${part}`);
    while (this.#on) {
      const answers: readonly Answer<Identity>[] =
        protocol === 'tcp'
          ? await from.many(target, this.together)
          : await from.manyUdp({ ...target, timeoutS: 0.5 }, this.together);
      for (const answer of answers) {
        if (isFailure(answer)) continue;
        this.#answered += 1;
        if (!tasks.includes(answer.task))
          this.#wrong.push(`${from.name} asked ${to} at ${target.host}:${target.port}/${protocol}, ${answer.task} answered`); // prettier-ignore
      }
      await sleep(this.gapMs);
    }
  }
}
