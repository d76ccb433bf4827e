/** Published ports and VIPs: the entries that lead packets to a virtual server. */
import type { Frontend } from '../plan/objects.js';
import type { Image, Maps } from './image.js';
import type { VirtualRecord } from './records.js';
import { portIndex, vipKeyText } from './records.js';
import { u32, u32Octets } from './struct.js';

/** A frontend that the virtual server of that index no longer has. */
export interface FormerFrontend {
  readonly vni: number;
  readonly frontend: Frontend;
  readonly index: number;
}

/**
 * Lets the frontends of `records` lead to them, and former ones to nobody unless they have come to lead to another by now.
 * Throws KernelError.
 */
export function writeFrontends(
  maps: Maps,
  image: Image,
  records: readonly VirtualRecord[],
  former: readonly FormerFrontend[],
): void {
  const ports = new Map<number, number>();
  const vips = new Map<string, number>();
  for (const record of records) {
    const { frontend } = record.object;
    if (frontend.kind === 'port') ports.set(portIndex(frontend), record.index);
    else vips.set(vipKeyText(record.vni, frontend.address), record.index);
    record.damaged.frontend = false;
  }
  const goneVips: string[] = [];
  for (const { vni, frontend, index } of former) {
    if (image.leadsTo(vni, frontend) !== index) continue;
    if (frontend.kind === 'port') {
      const at = portIndex(frontend);
      if (!ports.has(at)) ports.set(at, 0);
    } else {
      const key = vipKeyText(vni, frontend.address);
      if (!vips.has(key)) goneVips.push(key);
    }
  }
  writePorts(image, ports);
  if (vips.size > 0)
    maps.skep_vips.putMany(
      Array.from(vips, ([key, index]) => ({ key: Buffer.from(key, 'hex'), value: u32Octets(index) })),
    );
  for (const [key, index] of vips) {
    image.vips.set(key, index);
    image.leftovers.vips.delete(key);
  }
  removeVips(maps, image, goneVips);
}

/** @param targets index of the virtual server by port index; 0: none */
export function writePorts(image: Image, targets: ReadonlyMap<number, number>): void {
  image.ports.write([...targets.keys()], (view, at, index) => u32.set(view, at, targets.get(index) ?? 0));
  for (const index of targets.keys()) image.leftovers.ports.delete(index);
}

/** @param keys of skep_vips, in hex */
export function removeVips(maps: Maps, image: Image, keys: readonly string[]): void {
  if (keys.length > 0) maps.skep_vips.deleteMany(keys.map((key) => Buffer.from(key, 'hex')));
  for (const key of keys) {
    image.vips.delete(key);
    image.leftovers.vips.delete(key);
  }
}

export const sameFrontend = (a: Frontend, b: Frontend): boolean =>
  a.kind === 'port'
    ? b.kind === 'port' && a.protocol === b.protocol && a.port === b.port && a.limitedBy === b.limitedBy
    : b.kind === 'vip' && a.address === b.address;
