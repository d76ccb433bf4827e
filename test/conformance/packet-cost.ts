/**
 * What a packet to a VIP costs its sender's node among many services, against what it costs where its service is the only one.
 * Both on one node, in turns; a packet ends at a container of that node or leaves by VXLAN.
 */
import type { SendCosts } from './peer.js';
import type { World } from './world.js';
import { closedPort, vip } from './world.js';

const packets = 200;
const runs = 20;

export interface PacketCost {
  readonly services: number;
  readonly alone: SendCosts;
  readonly among: SendCosts;
  /** Of the second to the first; the smallest of the rounds. */
  readonly keptRatio: number;
  readonly newRatio: number;
}

/** @param during called while the many services are there */
export async function packetCost(
  world: World,
  services: number,
  rounds: number,
  during: () => Promise<void> = async () => undefined,
): Promise<PacketCost> {
  const measure = async (manyServices: number): Promise<SendCosts> => {
    await world.program({ manyServices }, [1]);
    if (manyServices > 0) await during();
    return world.caller.sendCosts({ host: vip, port: closedPort }, packets, runs);
  };
  const cheapest = (a: SendCosts, b: SendCosts): SendCosts => ({
    keptUs: Math.min(a.keptUs, b.keptUs),
    newUs: Math.min(a.newUs, b.newUs),
  });
  let alone = await measure(0);
  let among = await measure(services - 1);
  for (let round = 1; round < rounds; round++) {
    alone = cheapest(alone, await measure(0));
    among = cheapest(among, await measure(services - 1));
  }
  alone = cheapest(alone, await measure(0));
  return {
    services,
    alone,
    among,
    keptRatio: among.keptUs / alone.keptUs,
    newRatio: among.newUs / alone.newUs,
  };
}
