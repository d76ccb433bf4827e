/**
 * Where a published port listens, and the labels that say it, because Docker's API has no fields for it. Both are of the
 * ports that a service publishes through the mesh, on every node; a request must satisfy both.
 */
import type { Cidr } from './addresses.js';
import { addressBits, familyOf, formatCidr, isIp, parseCidr } from './addresses.js';
import type { Labels } from './service-spec.js';

/** Empty lists: everywhere. */
export interface PublishLimits {
  /** Devices of the node that a request may come in by; `lo`: calls of the node's own processes. */
  readonly interfaces: readonly string[];
  /** Networks that the node's address, the one called, must lie in. */
  readonly cidrs: readonly Cidr[];
}

export const interfacesLabel = 'skep.publish.interfaces';
export const cidrsLabel = 'skep.publish.cidrs';
/** Every label of publishing begins so; a name that nobody knows is a mistake of writing. */
const labelPrefix = 'skep.publish.';

/** Each limit of a port costs a node entries in its kernel. */
export const interfacesMax = 16;
export const cidrsMax = 64;

interface LabelLaw {
  /** Undefined: the text means nothing. */
  readonly parse: (text: string) => readonly string[] | undefined;
  readonly expected: string;
}
const laws: Readonly<Record<string, LabelLaw>> = {
  [interfacesLabel]: {
    parse: parseInterfaces,
    expected: `1 to ${interfacesMax} names of network interfaces with commas between, such as eth0,lo`,
  },
  [cidrsLabel]: {
    parse: parseCidrs,
    expected: `1 to ${cidrsMax} networks or addresses with commas between, such as 10.0.0.0/8,192.0.2.1`,
  },
};

/** Where a service's ports listen. What its labels get wrong (the API refuses it) counts as nowhere rather than everywhere. */
export const publishLimits = (labels: Labels): PublishLimits => {
  const [interfaces, cidrs] = [labels[interfacesLabel], labels[cidrsLabel]];
  return {
    interfaces: interfaces === undefined ? [] : (parseInterfaces(interfaces) ?? ['none']),
    cidrs: cidrs === undefined ? [] : (parseCidrs(cidrs) ?? ['0.0.0.0/32' as Cidr]),
  };
};

/** What is wrong with a service's labels of publishing, in words for its user. */
export function faultOfPublishLabels(labels: Labels): string | undefined {
  for (const [name, text] of Object.entries(labels)) {
    if (!name.startsWith(labelPrefix)) continue;
    const law = laws[name];
    if (law === undefined)
      return `unknown label ${JSON.stringify(name)}: expected ${Object.keys(laws).join(', ')}`;
    if (law.parse(text) === undefined)
      return `invalid label ${name}=${JSON.stringify(text)}: must be ${law.expected}`;
  }
  return undefined;
}

/** The kernel's law of names (dev_valid_name): 1 to 15 octets, no blank, slash or colon. */
export const isInterfaceName = (text: string): boolean =>
  /^[\x21-\x7e]{1,15}$/.test(text) && !/[/:,]/.test(text) && text !== '.' && text !== '..';

function parseInterfaces(text: string): string[] | undefined {
  const names = listOf(text);
  return names.length <= interfacesMax && names.every(isInterfaceName) ? [...new Set(names)] : undefined;
}

function parseCidrs(text: string): Cidr[] | undefined {
  const parts = listOf(text);
  if (parts.length > cidrsMax) return undefined;
  const cidrs: Cidr[] = [];
  for (const part of parts) {
    const cidr = parseNetwork(part);
    if (cidr === undefined) return undefined;
    if (!cidrs.includes(cidr)) cidrs.push(cidr);
  }
  return cidrs;
}

/** A network without host bits, which may as well be meant for the address alone; or an address. */
function parseNetwork(text: string): Cidr | undefined {
  const [address = '', ...more] = text.split('/');
  if (!isIp(address)) return undefined;
  try {
    const parsed = parseCidr(more.length === 0 ? `${address}/${addressBits(familyOf(address))}` : text);
    return parsed.address === parsed.base ? formatCidr(parsed) : undefined;
  } catch {
    return undefined;
  }
}

const listOf = (text: string): string[] => text.split(',').map((part) => part.trim());
