/**
 * What a host needs to run Skep, and what mends it when it is missing. Pure: probe results in, lines and one command out.
 * What only the other balancer engine needs may be missing. Package names are Debian's.
 */
import type { EngineName } from '../../dataplane/plan/balancing.js';

/** What one probe found. `unknown`: it could not be tried, `detail` says why. */
export interface Finding {
  readonly result: 'ok' | 'missing' | 'unknown';
  readonly detail: string;
}

/** Every check there is. A probe for each is in probes.ts. */
export const checks = {
  root: { title: 'running as root', why: 'namespaces and links are made by root alone', mend: [] },
  ip: { title: 'ip command', why: 'links are tried with it here', mend: ['package iproute2'] },
  netns: { title: 'network namespaces', why: 'each overlay lives in one of its own', mend: ['kernel'] },
  veth: { title: 'veth', why: 'joins containers to overlays', mend: ['kernel'] },
  bridge: { title: 'bridge', why: 'joins the containers of an overlay', mend: ['kernel'] },
  vxlan: { title: 'VXLAN', why: 'carries overlays between nodes', mend: ['kernel'] },
  ipVs: {
    title: 'IPVS (ip_vs)',
    why: 'balances VIPs and published ports',
    mend: ['kernel', 'module ip_vs'],
    engine: 'ipvs',
  },
  ipVsRr: {
    title: 'IPVS round robin (ip_vs_rr)',
    why: 'the scheduler that services have by default',
    mend: ['kernel', 'module ip_vs_rr'],
    engine: 'ipvs',
  },
  ipVsSchedulers: {
    title: 'IPVS schedulers wrr, lc and mh',
    why: 'services may ask for them by a label',
    mend: ['kernel', 'module ip_vs_wrr', 'module ip_vs_lc', 'module ip_vs_mh'],
    engine: 'ipvs',
  },
  bpf: {
    title: 'BPF programs and maps',
    why: 'balance VIPs and published ports',
    mend: ['kernel'],
    engine: 'ebpf',
  },
  bpfJit: {
    title: 'BPF programs as machine code',
    why: 'a kernel that interprets them balances faster with IPVS',
    mend: ['run sysctl -w net.core.bpf_jit_enable=1'],
    engine: 'ebpf',
    optional: true,
  },
  clsact: {
    title: 'BPF filters on devices (cls_bpf, clsact)',
    why: 'show packets to the programs',
    mend: ['kernel', 'module cls_bpf', 'module sch_ingress'],
    engine: 'ebpf',
  },
  ipset: {
    title: 'ipset command',
    why: 'maps VIPs and ports to marks',
    mend: ['package ipset'],
    engine: 'ipvs',
  },
  ipSetHashIp: {
    title: 'ipset hash:ip with skbinfo',
    why: 'maps VIPs to marks in one rule',
    mend: ['kernel', 'module ip_set_hash_ip'],
    engine: 'ipvs',
  },
  ipSetBitmapPort: {
    title: 'ipset bitmap:port with skbinfo',
    why: 'maps published ports to marks in one rule',
    mend: ['kernel', 'module ip_set_bitmap_port'],
    engine: 'ipvs',
  },
  ipSetHashNetPort: {
    title: 'ipset hash:net,port with skbinfo',
    why: 'maps published SCTP ports to marks in one rule',
    mend: ['kernel', 'module ip_set_hash_netport'],
    engine: 'ipvs',
  },
  iptablesRestore: {
    title: 'iptables-restore command',
    why: 'puts the chains of Skep in place',
    mend: ['package iptables'],
  },
  xtSet: {
    title: 'iptables SET target (xt_set)',
    why: 'sets the marks',
    mend: ['kernel', 'module xt_set'],
    engine: 'ipvs',
  },
  xtMark: {
    title: 'iptables mark match (xt_mark)',
    why: 'accepts what was balanced, whatever the firewall of the host does',
    mend: ['kernel', 'module xt_mark'],
  },
  xtAddrtype: {
    title: 'iptables addrtype match (xt_addrtype)',
    why: 'tells published ports of this node from forwarded packets',
    mend: ['kernel', 'module xt_addrtype'],
    engine: 'ipvs',
  },
  xtTee: {
    title: 'iptables TEE and REJECT targets (xt_TEE, ipt_REJECT)',
    why: 'tell tasks of connections that are forgotten',
    mend: ['kernel', 'module xt_TEE', 'module ipt_REJECT'],
    engine: 'ipvs',
  },
  xtCt: {
    title: 'iptables CT target (xt_CT)',
    why: 'keeps balanced flows out of connection tracking',
    mend: ['kernel', 'module xt_CT'],
    engine: 'ebpf',
  },
  xtConnmark: {
    title: 'iptables CONNMARK and DNAT targets (xt_connmark, xt_nat)',
    why: 'bring the answers of UDP and SCTP servers back to the node that was asked',
    mend: ['kernel', 'module xt_connmark', 'module xt_nat'],
  },
  xtLimit: {
    title: 'iptables limit match and DNAT of own packets (xt_limit, iptable_raw, xt_nat)',
    why: 'lead containers to the name service, and keep one that floods from the others',
    mend: ['kernel', 'module xt_limit', 'module xt_nat'],
  },
  esp: {
    title: 'ESP with AES-GCM (esp4), and rules that ask for it (xt_policy)',
    why: 'encrypted networks need it',
    mend: ['kernel', 'module esp4', 'module xt_policy'],
    optional: true,
  },
  engine: {
    title: 'Docker Engine 20.10 or later',
    why: 'runs the containers',
    mend: ['package docker.io', 'start docker'],
  },
  engineSwarm: {
    title: 'Docker Engine not in swarm mode',
    why: "Swarm's own ports and networks would collide with Skep's",
    mend: ['run docker -H unix:///var/run/docker.sock swarm leave --force'],
  },
  routes: {
    title: 'routes clear of overlays',
    why: 'containers on an overlay cannot reach what lies behind a route into its subnet',
    mend: [],
  },
  etcd: {
    title: 'etcd binary',
    why: 'keeps the state of the cluster on managers',
    mend: ['package etcd-server'],
  },
} as const satisfies Record<
  string,
  {
    readonly title: string;
    readonly why: string;
    readonly mend: readonly Remedy[];
    /** The balancer engine that needs it; absent: all hosts do. */
    readonly engine?: EngineName;
    /** Without it a host is sound, and only some of what users may ask for is refused there. */
    readonly optional?: true;
  }
>;

export type CheckName = keyof typeof checks;
/** `kernel`: what no module brings; the distribution's stock kernel has it. */
type Remedy = 'kernel' | `module ${string}` | `package ${string}` | `start ${string}` | `run ${string}`;

export type Findings = Readonly<Record<CheckName, Finding>>;

export interface Diagnosis {
  readonly healthy: boolean;
  readonly lines: readonly string[];
  /** The one command that mends all that is missing; null when nothing is, or a package manager cannot help. */
  readonly command: string | null;
}

/** Which balancer engine a host has, and who says so. */
export interface Balancer {
  readonly name: EngineName;
  readonly from: 'skep-dataplane' | 'configuration' | 'kernel';
}

/** What a daemon would choose that was told nothing and has no flows: see chooseEngine of dataplane/balancer. */
export function balancerOf({ ipVs, bpf, bpfJit, clsact, xtCt }: Findings): Balancer {
  const isThere = (...findings: readonly Finding[]): boolean =>
    findings.every(({ result }) => result === 'ok');
  const takesEbpf = isThere(ipVs) ? isThere(bpf, bpfJit, clsact, xtCt) : isThere(bpf, clsact);
  return { name: takesEbpf ? 'ebpf' : 'ipvs', from: 'kernel' };
}

const sayings: Readonly<Record<Balancer['from'], string>> = {
  'skep-dataplane': 'skep-dataplane uses it',
  configuration: 'the option [balancer] engine says so',
  kernel: 'what skep-dataplane would choose here',
};

const engineOf = (name: CheckName): EngineName | undefined =>
  (checks[name] as { readonly engine?: EngineName }).engine;
const isOptional = (name: CheckName): boolean => 'optional' in checks[name];

/** @param hasModules whether the running kernel can load modules; else a missing capability needs another kernel */
export function diagnose(findings: Findings, hasModules: boolean, balancer: Balancer): Diagnosis {
  const names = Object.keys(checks) as CheckName[];
  const width = Math.max(...names.map((name) => checks[name].title.length));
  const isNeeded = (name: CheckName): boolean =>
    (engineOf(name) ?? balancer.name) === balancer.name && !isOptional(name);
  const bad = names.filter((name) => findings[name].result !== 'ok' && isNeeded(name));
  const lines = names.map((name) => {
    const { result, detail } = findings[name];
    const { title, why } = checks[name];
    const isOthers = (engineOf(name) ?? balancer.name) !== balancer.name;
    if (result !== 'ok' && isOptional(name) && !(isOthers && result === 'unknown')) {
      const mend = optionalMend(name, hasModules);
      return `unneeded ${title.padEnd(width)}  ${result}, but ${why}; to have it: ${mend}`;
    }
    if (result !== 'ok' && !isNeeded(name))
      return `unneeded ${title.padEnd(width)}  ${result}, and only the engine ${engineOf(name)} needs it`;
    const rest = result === 'ok' ? detail : [why, detail].filter(Boolean).join('; ');
    return `${result.padEnd(8)} ${title.padEnd(width)}  ${rest}`.trimEnd();
  });
  return {
    healthy: bad.length === 0,
    lines: [...lines, `Balancer engine: ${balancer.name} (${sayings[balancer.from]})`],
    command: mendingCommand(bad, findings, hasModules),
  };
}

/** What would bring an optional check, in the words of {@link mendingCommand}. */
const optionalMend = (name: CheckName, hasModules: boolean): string => {
  const remedies = checks[name].mend as readonly Remedy[];
  const words = (kind: string): string[] =>
    remedies.flatMap((remedy) => (remedy.startsWith(`${kind} `) ? [remedy.slice(kind.length + 1)] : []));
  const modules = hasModules ? words('module') : [];
  if (modules.length > 0) return `modprobe -a ${modules.join(' ')}`;
  return words('run')[0] ?? 'a kernel that has it';
};

function mendingCommand(bad: readonly CheckName[], findings: Findings, hasModules: boolean): string | null {
  if (findings.root.result !== 'ok') return 'sudo skep doctor';
  // What could not be tried is told again once the rest is mended.
  const missing = bad.filter((name) => findings[name].result === 'missing');
  const wanted = new Set<Remedy>(missing.flatMap((name): readonly Remedy[] => checks[name].mend));
  const words = (kind: string): string[] =>
    [...wanted].flatMap((remedy) => (remedy.startsWith(`${kind} `) ? [remedy.slice(kind.length + 1)] : []));
  const packages = words('package');
  const modules = words('module');
  // What a kernel lacks and no module brings needs another kernel.
  const newKernel = missing.some((name) => {
    const mend: readonly Remedy[] = checks[name].mend;
    return mend.includes('kernel') && (!hasModules || !mend.some((remedy) => remedy.startsWith('module ')));
  });
  if (newKernel) packages.push('linux-image-amd64');
  const steps = [
    ...(packages.length > 0 ? [`apt-get install -y ${packages.join(' ')}`] : []),
    ...(modules.length > 0 && !newKernel ? [`modprobe -a ${modules.join(' ')}`] : []),
    ...words('start').map((unit) => `systemctl enable --now ${unit}`),
    ...words('run'),
    ...(newKernel ? ['reboot'] : []),
  ];
  return steps.length > 0 ? steps.join(' && ') : null;
}
