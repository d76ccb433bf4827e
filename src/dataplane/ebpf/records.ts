/**
 * Virtual and real servers as the image has them, and what their entries and keys hold. Words and numbers of entries are
 * translated here and nowhere else.
 */
import type { Mac } from '../../model/addresses.js';
import type { Scheduler } from '../../model/balancing.js';
import { schedulers } from '../../model/balancing.js';
import { ebpfFamily } from '../plan/ebpf.js';
import type { Frontend, RealServer, VirtualServer } from '../plan/objects.js';
import type { Extent } from './extent-pool.js';
import { ipv4Number, ipv4Text } from './ipv4.js';
import { enums, structs } from './layout.js';
import type { SlotCandidate } from './slots.js';

/** The host's scope in the maps. */
export const hostVni = 0;

export interface VirtualRecord {
  readonly index: number;
  readonly vni: number;
  object: VirtualServer & { readonly frontend: Frontend };
  /** Its slots; null: it has none. */
  extent: Extent | null;
  /** By {@link realKey}. */
  reals: Map<number, RealRecord>;
  /** What in the kernel is not as it should be. */
  damaged: { entry: boolean; slots: boolean; frontend: boolean };
}

export interface RealRecord {
  readonly index: number;
  readonly generation: number;
  readonly owner: VirtualRecord;
  object: RealServer & { readonly mac: Mac };
  damaged: boolean;
}

/** A real server within its virtual server. */
export const realKey = (address: number, port: number): number => address * 0x10000 + port;

const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const; // linux/in.h
const { PUBLISHED_TCP, PUBLISHED_UDP, PUBLISHED_SCTP } = enums.publishedProtocol;
const publishedProtocols = { tcp: PUBLISHED_TCP, udp: PUBLISHED_UDP, sctp: PUBLISHED_SCTP } as const;
export type Protocol = keyof typeof protocolNumbers;
export const protocolOf = (number: number): Protocol | null =>
  (Object.keys(protocolNumbers) as Protocol[]).find((name) => protocolNumbers[name] === number) ?? null;

/** Index of a published port in skep_ports. */
export const portIndex = ({ protocol, port }: Frontend & { readonly kind: 'port' }): number =>
  (publishedProtocols[protocol] << 16) | port;

const schedulerNumbers: Readonly<Record<Scheduler, number>> = {
  rr: enums.scheduler.SCHEDULER_RR,
  wrr: enums.scheduler.SCHEDULER_WRR,
  lc: enums.scheduler.SCHEDULER_LC,
  mh: enums.scheduler.SCHEDULER_MH,
};

const { LIMITED_BY_DEVICE, LIMITED_BY_ADDRESS } = enums.limitedBy;
const limitNumbers = {
  nothing: 0,
  device: LIMITED_BY_DEVICE,
  address: LIMITED_BY_ADDRESS,
  both: LIMITED_BY_DEVICE | LIMITED_BY_ADDRESS,
} as const;
type LimitName = keyof typeof limitNumbers;

/** A real server as schedulers see it. */
export const candidateOf = (index: number, { weight, mac, port }: RealRecord['object']): SlotCandidate => ({
  index,
  weight,
  mac,
  port,
});

/** A VIP's key in skep_vips, as hex: with the half of the VNI that programs can read. */
export const vipKeyText = (vni: number, address: string): string =>
  structs.vipKey.encode({ vni: vni & 0xffff, address: ipv4Number(address) }).toString('hex');

/** The entry of a virtual server. */
export const virtualEntry = ({ object, vni, extent }: VirtualRecord) => ({
  firstSlot: extent?.first ?? 0,
  slotCount: extent?.count ?? 0,
  scheduler: schedulerNumbers[object.scheduler],
  affinityS: object.affinityS ?? 0,
  vni,
  mark: object.mark,
  ...(object.frontend.kind === 'vip'
    ? { address: ipv4Number(object.frontend.address), port: 0, protocol: 0, limitedBy: 0 }
    : {
        address: 0,
        port: object.frontend.port,
        protocol: protocolNumbers[object.frontend.protocol],
        limitedBy: limitNumbers[object.frontend.limitedBy ?? 'nothing'],
      }),
});

/** The entry of a real server. */
export const realEntry = ({ owner, generation, object }: RealRecord) => ({
  virtualServer: owner.index,
  generation,
  address: ipv4Number(object.address),
  port: object.port,
  mac: object.mac,
  weight: object.weight,
});

/** The virtual server that an entry describes; null: none that we make. */
export function virtualObject(entry: ReturnType<typeof virtualEntry>): VirtualRecord['object'] | null {
  const { mark, affinityS } = entry;
  const scheduler = schedulers.find((name) => schedulerNumbers[name] === entry.scheduler);
  const frontend = frontendOf(entry);
  if (mark === 0 || scheduler === undefined || frontend === null) return null;
  return {
    kind: 'virtualServer',
    family: ebpfFamily,
    mark,
    frontend,
    scheduler,
    affinityS: affinityS === 0 ? null : affinityS,
  };
}

/** The real server that an entry describes. */
export const realObject = (
  { vni, object: { mark } }: VirtualRecord,
  { address, port, weight, mac }: ReturnType<typeof realEntry>,
): RealRecord['object'] => ({
  kind: 'realServer',
  mark,
  address: ipv4Text(address),
  port,
  method: vni === hostVni ? 'translate' : 'direct',
  weight,
  mac,
});

function frontendOf(entry: {
  readonly vni: number;
  readonly address: number;
  readonly port: number;
  readonly protocol: number;
  readonly limitedBy: number;
}): Frontend | null {
  if (entry.vni !== hostVni)
    return entry.address === 0 ? null : { kind: 'vip', address: ipv4Text(entry.address) };
  const protocol = protocolOf(entry.protocol);
  const limitedBy = (Object.keys(limitNumbers) as LimitName[]).find(
    (name) => limitNumbers[name] === entry.limitedBy,
  );
  if (protocol === null || entry.port === 0 || limitedBy === undefined) return null;
  return { kind: 'port', protocol, port: entry.port, ...(limitedBy !== 'nothing' && { limitedBy }) };
}
