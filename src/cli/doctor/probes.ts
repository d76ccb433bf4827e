/**
 * Tries what Skep needs, each thing for real: links, sets and rules are made in a network namespace that lives as long as
 * the probe, so nothing on the host changes but modules that the kernel loads on demand, as it would for Skep itself.
 */
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import { release } from 'node:os';
import { promisify } from 'node:util';
import { readHostRoutes } from '../../controlplane/agent/host-routes.js';
import { tryEbpf } from '../../dataplane/balancer/ebpf-capability.js';
import { engineClient } from '../../dataplane/plugin/engine.js';
import { cidrsOverlap } from '../../model/addresses.js';
import type { HostRoute } from '../../model/host-routes.js';
import { routeText } from '../../model/host-routes.js';
import type { CheckName, Finding, Findings } from './diagnosis.js';

const run = promisify(execFile);
const probeMs = 10_000;
const ok = (detail = ''): Finding => ({ result: 'ok', detail });
const missing = (detail = ''): Finding => ({ result: 'missing', detail });
const unknown = (detail: string): Finding => ({ result: 'unknown', detail });
const needsRoot = unknown('needs root');
const untriedEbpf = { bpf: needsRoot, bpfJit: needsRoot, clsact: needsRoot, xtCt: needsRoot };

/** Runs every probe; `step` is told what is tried. */
export async function probeHost(engine: string, step: (text: string) => void): Promise<Findings> {
  const kernel: Readonly<
    Record<Exclude<CheckName, 'root' | EngineCheck | BpfCheck>, () => Promise<Finding>>
  > = {
    ip: () => command('ip'),
    netns: () => inNamespace('true'),
    veth: () => makesLink('type veth'),
    bridge: () => makesLink('type bridge'),
    vxlan: () => makesLink('type vxlan id 1 dstport 4789 nolearning'),
    // A namespace has the file once IPVS is there; modprobe fails quietly where it is built in.
    ipVs: () => inNamespace('modprobe -q ip_vs; test -e /proc/net/ip_vs'),
    ipVsRr: () => hasScheduler('rr'),
    ipVsSchedulers: async () => {
      const found = await Promise.all(['wrr', 'lc', 'mh'].map(hasScheduler));
      return found.find(({ result }) => result !== 'ok') ?? ok();
    },
    ipset: () => command('ipset'),
    ipSetHashIp: () => needing('ipset', 'ipset create skep-probe hash:ip skbinfo'),
    ipSetBitmapPort: () => needing('ipset', 'ipset create skep-probe bitmap:port range 1-65535 skbinfo'),
    ipSetHashNetPort: () => needing('ipset', 'ipset create skep-probe hash:net,port skbinfo'),
    esp: () =>
      needing(
        'ip',
        `ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport aead 'rfc4106(gcm(aes))' 0x${'0'.repeat(40)} 128 && ` +
          `printf '*mangle\\n-A OUTPUT -m policy --dir out --pol none -j DROP\\nCOMMIT\\n' | iptables-restore --noflush`,
      ),
    iptablesRestore: () => command('iptables-restore'),
    xtSet: async () => {
      const set = await needing('ipset', 'true');
      return set.result === 'ok'
        ? restores(
            'mangle',
            '-A PREROUTING -j SET --map-set skep-probe dst --map-mark',
            'ipset create skep-probe hash:ip skbinfo',
          )
        : set;
    },
    xtMark: () => restores('filter', '-A FORWARD -m mark --mark 0x5e000000/0xff000000 -j ACCEPT'),
    xtAddrtype: () => restores('mangle', '-A PREROUTING -m addrtype --dst-type LOCAL -j RETURN'),
    xtTee: async () => {
      const copied = await restores('mangle', '-A POSTROUTING -p tcp -j TEE --gateway 192.0.2.1');
      return copied.result === 'ok'
        ? restores('filter', '-A FORWARD -p tcp -j REJECT --reject-with tcp-reset')
        : copied;
    },
    xtConnmark: async () => {
      const marked = await restores('mangle', '-A OUTPUT -m connmark --mark 1 -j CONNMARK --restore-mark');
      return marked.result === 'ok'
        ? restores('nat', '-A PREROUTING -p udp -j DNAT --to-destination 192.0.2.1')
        : marked;
    },
    xtLimit: async () => {
      const limited = await restores('raw', '-A OUTPUT -m limit --limit 10000/sec --limit-burst 1000');
      return limited.result === 'ok'
        ? restores('nat', '-A OUTPUT -p udp -j DNAT --to-destination 127.0.0.94:94')
        : limited;
    },
  };
  const isRoot = process.getuid?.() === 0;
  step('trying the kernel: links, sets, rules, schedulers');
  const results = await Promise.all(
    Object.entries(kernel).map(async ([name, probe]): Promise<[string, Finding]> => [
      name,
      isRoot || name === 'ip' || name === 'ipset' || name === 'iptablesRestore' ? await probe() : needsRoot,
    ]),
  );
  step('trying the kernel: BPF programs');
  const ebpf = isRoot ? await probeEbpf() : untriedEbpf;
  step(`asking the engine at ${engine}`);
  return {
    ...(Object.fromEntries(results) as Record<keyof typeof kernel, Finding>),
    root: isRoot ? ok() : missing(),
    ...ebpf,
    ...(await probeEngine(engine)),
    etcd: await command('etcd'),
  };
}

/** Whether the running kernel has modules to load. */
export const kernelHasModules = (): Promise<boolean> =>
  access(`/lib/modules/${release()}/modules.dep`).then(
    () => true,
    () => false,
  );

type EngineCheck = 'engine' | 'engineSwarm' | 'etcd' | 'routes';
type BpfCheck = 'bpf' | 'bpfJit' | 'clsact' | 'xtCt';

async function probeEbpf(): Promise<Pick<Findings, BpfCheck>> {
  const { bpf, compiled, clsact, tracking } = await tryEbpf();
  return { bpf, bpfJit: compiled, clsact, xtCt: tracking };
}

const hasScheduler = (name: string): Promise<Finding> =>
  inNamespace(
    `modprobe -q ip_vs_${name}; test -d /sys/module/ip_vs_${name} || grep -qw ip_vs_${name}_init /proc/kallsyms`,
  );

async function probeEngine(engine: string): Promise<Pick<Findings, Exclude<EngineCheck, 'etcd'>>> {
  try {
    const docker = engineClient(engine);
    const { Version } = await docker.version();
    const info = (await docker.info()) as { Swarm?: { LocalNodeState?: string } };
    const state = info.Swarm?.LocalNodeState ?? 'inactive';
    return {
      engine: isSupportedEngine(Version) ? ok(Version) : missing(`${Version} is too old`),
      engineSwarm: state === 'inactive' ? ok() : missing(`it is ${state}`),
      routes: routesFinding(await readHostRoutes(), await overlaysOf(docker)),
    };
  } catch (err) {
    const why = `${engine} does not answer: ${messageOf(err)}`;
    return {
      engine: missing(why),
      engineSwarm: unknown('the engine does not answer'),
      routes: unknown('the engine does not answer'),
    };
  }
}

/** Overlays that this node takes part in: the engine has a network of driver `skep` for each that a container uses. */
async function overlaysOf(docker: ReturnType<typeof engineClient>): Promise<readonly OverlaySubnet[]> {
  const networks = await docker.listNetworks({ filters: { driver: ['skep'] } });
  return networks.flatMap(({ Name, IPAM }) =>
    (IPAM?.Config ?? []).flatMap(({ Subnet }) => (Subnet ? [{ name: Name, subnet: Subnet }] : [])),
  );
}

interface OverlaySubnet {
  readonly name: string;
  readonly subnet: string;
}

/** Which overlays cover a route of this host. */
export function routesFinding(routes: readonly HostRoute[], overlays: readonly OverlaySubnet[]): Finding {
  const covered = overlays.flatMap(({ name, subnet }) =>
    routes
      .filter(({ destination }) => cidrsOverlap(destination, subnet))
      .map((route) => `${subnet} of network ${name} overlaps ${routeText(route)}`),
  );
  return covered.length === 0 ? ok() : missing(covered.join(', '));
}

/** 20.10 is the first with what the driver relies on. */
export function isSupportedEngine(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map((part) => parseInt(part, 10));
  return major > 20 || (major === 20 && minor >= 10);
}

async function command(name: string): Promise<Finding> {
  const { failed, output } = await shell(`command -v ${name}`);
  return failed ? missing('not on the PATH') : ok(output);
}

/** A probe that needs a command cannot tell of the kernel without it. */
async function needing(name: string, script: string): Promise<Finding> {
  if ((await command(name)).result !== 'ok') return unknown(`cannot be tried without ${name}`);
  return inNamespace(script);
}

const makesLink = (type: string): Promise<Finding> => needing('ip', `ip link add skprobe ${type}`);

async function restores(table: string, rule: string, before = 'true'): Promise<Finding> {
  return needing(
    'iptables-restore',
    `${before} && printf '*${table}\\n${rule}\\nCOMMIT\\n' | iptables-restore --noflush`,
  );
}

/** Runs a script in a network namespace of its own. */
async function inNamespace(script: string): Promise<Finding> {
  const { failed, output } = await shell(script, ['unshare', '--net']);
  return failed ? missing(output) : ok();
}

async function shell(
  script: string,
  within: readonly string[] = [],
): Promise<{ failed: boolean; output: string }> {
  const [program = 'sh', ...args] = [...within, 'sh', '-c', script];
  try {
    const { stdout } = await run(program, args, { timeout: probeMs });
    return { failed: false, output: stdout.trim() };
  } catch (err) {
    return { failed: true, output: lastLine(err) };
  }
}

/** Why a command failed, in its own last words. */
const lastLine = (err: unknown): string =>
  (err as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? messageOf(err);

const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));
