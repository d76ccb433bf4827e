/** IPVS of one namespace: virtual servers by mark and their real servers, over generic netlink. The `ipvs` balancer engine. */
import { Ipvs } from '../netlink/ipvs.js';
import { isErrno } from '../netlink/netlink-error.js';
import type { Op } from '../plan/diff.js';
import type { RealServer, VirtualServer } from '../plan/objects.js';
import { MissingModuleError } from './kernel-error.js';

export class IpvsTable implements Disposable {
  private constructor(private readonly ipvs: Ipvs) {}

  /** Rejects with MissingModuleError when this kernel has no IPVS. */
  static async open(netns: string | null): Promise<IpvsTable> {
    try {
      return new IpvsTable(await Ipvs.open(netns));
    } catch (cause) {
      if (isErrno(cause, 'ENOENT')) throw new MissingModuleError('ip_vs', { cause });
      throw cause;
    }
  }

  [Symbol.dispose](): void {
    this.ipvs[Symbol.dispose]();
  }

  /** Those found by mark; others are strangers'. Rejects with NetlinkError. */
  async observe(): Promise<(VirtualServer | RealServer)[]> {
    const found: (VirtualServer | RealServer)[] = [];
    for (const { key, scheduler } of await this.ipvs.listVirtualServers()) {
      if (key.kind !== 'fwmark' || key.family !== 4) continue;
      const mark = key.fwmark;
      found.push({ kind: 'virtualServer', mark, scheduler: scheduler as VirtualServer['scheduler'] });
      for (const { address, port, forwarding, weight } of await this.ipvs.listRealServers(key)) {
        const method = forwarding === 'directRoute' ? 'direct' : 'translate';
        found.push({ kind: 'realServer', mark, address, port, method, weight });
      }
    }
    return found;
  }

  /** Rejects with NetlinkError, or MissingModuleError for a scheduler that the kernel lacks. */
  async apply({ op, object }: Op & { readonly object: VirtualServer | RealServer }): Promise<void> {
    const key = { kind: 'fwmark', family: 4, fwmark: object.mark } as const;
    if (object.kind === 'virtualServer') {
      const server = { key, scheduler: object.scheduler };
      try {
        if (op === 'delete') await this.ipvs.removeVirtualServer(key);
        else if (op === 'add') await this.ipvs.addVirtualServer(server);
        else await this.ipvs.changeVirtualServer(server);
      } catch (err) {
        if (op === 'delete' && isErrno(err, 'ESRCH')) return;
        if (op === 'add' && isErrno(err, 'EEXIST')) return;
        if (op !== 'delete' && isErrno(err, 'ENOENT'))
          throw new MissingModuleError(`ip_vs_${object.scheduler}`, { cause: err });
        throw err;
      }
      return;
    }
    const { address, port, weight } = object;
    const forwarding = object.method === 'direct' ? 'directRoute' : 'masquerade';
    try {
      if (op === 'delete') await this.ipvs.removeRealServer(key, { address, port });
      else if (op === 'add') await this.ipvs.addRealServer(key, { address, port, forwarding, weight });
      else await this.ipvs.changeRealServer(key, { address, port, forwarding, weight });
    } catch (err) {
      if (op === 'delete' && isErrno(err, 'ENOENT', 'ESRCH')) return;
      if (op === 'add' && isErrno(err, 'EEXIST')) return;
      throw err;
    }
  }
}
