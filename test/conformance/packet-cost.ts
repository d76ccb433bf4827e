/**
 * What a packet to a VIP costs its sender's node among many services, against what it costs where its service is the only one.
 * Both on one node, in turns; a packet ends at a container of that node or leaves by VXLAN.
 */
import type { SendCosts } from './peer.js';
import type { World } from './world.js';
import { closedPort, vip } from './world.js';

const packets = 200;
const runs = 20;
/** What else this machine does may make packets dearer for longer than most runs of one turn. */
const roundsMax = 5;

export interface PacketCost {
  readonly services: number;
  /** The least of all rounds. */
  readonly alone: SendCosts;
  readonly among: SendCosts;
  /** Of the second to the first. */
  readonly keptRatio: number;
  readonly newRatio: number;
}

const least = (a: SendCosts, b: SendCosts): SendCosts => ({
  keptUs: Math.min(a.keptUs, b.keptUs),
  newUs: Math.min(a.newUs, b.newUs),
});

/**
 * @param during called while the many services are there
 * @param isEnough ends the rounds
 */
export async function packetCost(
  world: World,
  services: number,
  during: () => Promise<void>,
  isEnough: (cost: PacketCost) => boolean,
): Promise<PacketCost> {
  const measure = async (manyServices: number): Promise<SendCosts> => {
    await world.program({ manyServices }, [1]);
    if (manyServices > 0) await during();
    return world.caller.sendCosts({ host: vip, port: closedPort }, packets, runs);
  };
  let alone = await measure(0);
  let among = { keptUs: Infinity, newUs: Infinity };
  for (let round = 1; ; round++) {
    among = least(among, await measure(services - 1));
    alone = least(alone, await measure(0));
    const ratios = { keptRatio: among.keptUs / alone.keptUs, newRatio: among.newUs / alone.newUs };
    const cost = { services, alone, among, ...ratios };
    if (round === roundsMax || isEnough(cost)) return cost;
  }
}
