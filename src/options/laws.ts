/** What options of the file must have of each other. The file is judged by itself, whatever the environment puts over it. */
import type { Finding } from './finding.js';
import { notStarting } from './finding.js';
import { formatListenAddress } from './listen-address.js';
import type { OptionName, OptionValues } from './table.js';

/** Values that are wrong by themselves count as not said. */
export interface SaidInFile {
  readonly values: OptionValues;
  readonly isSaid: (name: OptionName) => boolean;
  readonly lineOf: (name: OptionName) => number | undefined;
}

const tlsNames = ['api.tls-ca', 'api.tls-cert', 'api.tls-key'] as const;
const keyOf = (name: string): string => name.replace(/^.*\./, '');

export const lawFindings = (said: SaidInFile): Finding[] => [...tlsFindings(said), ...metricsFindings(said)];

function tlsFindings({ values, lineOf }: SaidInFile): Finding[] {
  const missing = tlsNames.filter((name) => values[name] === '').map(keyOf);
  const present = tlsNames.filter((name) => values[name] !== '');
  const hasHosts = values['api.hosts'].length > 0;
  if (missing.length === 0 || (present.length === 0 && !hasHosts)) return [];
  const first = hasHosts ? 'api.hosts' : (present[0] ?? 'api.hosts');
  return [
    finding(lineOf(first), {
      what: `[api] ${keyOf(first)} is there without ${missing.join(', ')}`,
      means: `nothing is served over TCP without certificates of both sides; ${notStarting(['skepd'])}`,
      todo: `set ${missing.join(', ')} to paths of PEM files, or remove ${hasHosts ? 'hosts' : present.map(keyOf).join(', ')}`,
    }),
  ];
}

function metricsFindings({ values, isSaid, lineOf }: SaidInFile): Finding[] {
  const [dataplane, controlplane] = [
    values['metrics.dataplane-address'],
    values['metrics.controlplane-address'],
  ];
  if (!dataplane || !controlplane) return [];
  const at = formatListenAddress(dataplane);
  if (at !== formatListenAddress(controlplane)) return [];
  const name = isSaid('metrics.controlplane-address')
    ? 'metrics.controlplane-address'
    : 'metrics.dataplane-address';
  return [
    finding(lineOf(name), {
      what: `[metrics] both daemons are to serve their metrics at ${at}`,
      means: `only one of them can; ${notStarting(['skepd'])}`,
      todo: 'give dataplane-address and controlplane-address ports of their own',
    }),
  ];
}

const finding = (line: number | undefined, words: Pick<Finding, 'what' | 'means' | 'todo'>): Finding => ({
  from: 'file',
  ...(line !== undefined && { line }),
  daemons: ['skepd'],
  ...words,
});
