/** Routing policy rules (struct fib_rule_hdr). */
import type { Cidr, Family } from '../../model/addresses.js';
import { formatCidr, ipToNumber, numberToIp, parseCidr } from '../../model/addresses.js';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 12;

export const ruleActions = {
  lookup: c.FR_ACT_TO_TBL,
  goto: c.FR_ACT_GOTO,
  nop: c.FR_ACT_NOP,
  blackhole: c.FR_ACT_BLACKHOLE,
  unreachable: c.FR_ACT_UNREACHABLE,
  prohibit: c.FR_ACT_PROHIBIT,
} as const;
export type RuleAction = keyof typeof ruleActions;

export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly action: RuleAction;
  /** The table to look in, for `lookup`; else 0. */
  readonly table: number;
  /** The rule to go on at, for `goto`. */
  readonly target: number | null;
  /** Null matches any. */
  readonly source: Cidr | null;
  readonly destination: Cidr | null;
  /** Names of links, which need not exist. */
  readonly inName: string | null;
  readonly outName: string | null;
  readonly mark: { readonly value: number; readonly mask: number } | null;
  /** 0 for rules made without one; those of the kernel have 2. */
  readonly protocol: number;
  readonly inverted: boolean;
}

export type NewRule = Pick<Rule, 'family' | 'priority'> & Partial<Omit<Rule, 'family' | 'priority'>>;

/** The rules of one namespace. Methods reject with NetlinkError on the kernel's refusal. */
export class Rules {
  constructor(private readonly socket: NetlinkSocket) {}

  async list(filter: { family?: Family } = {}): Promise<Rule[]> {
    const payload = Buffer.alloc(headerBytes);
    payload.writeUInt8(filter.family ? familyNumber(filter.family) : c.AF_UNSPEC, 0);
    const messages = await this.socket.dump({ type: c.RTM_GETRULE, flags: 0, payload });
    return messages.map(parseRule).filter((rule) => rule !== null);
  }

  /** EEXIST when the same rule is there. */
  async add(rule: NewRule): Promise<void> {
    await this.socket.request(formatRule(c.RTM_NEWRULE, c.NLM_F_CREATE | c.NLM_F_EXCL, rule));
  }

  /** Removes the first rule that has all that is given. ENOENT when there is none. */
  async remove(rule: NewRule): Promise<void> {
    await this.socket.request(formatRule(c.RTM_DELRULE, 0, rule));
  }
}

/** Null for families other than IPv4 and IPv6, and for actions unknown here. */
export function parseRule(message: NetlinkMessage): Rule | null {
  const { payload } = message;
  const family = familyFromNumber(payload.readUInt8(0));
  const actionNumber = payload.readUInt8(7);
  const action = (Object.keys(ruleActions) as RuleAction[]).find(
    (name) => ruleActions[name] === actionNumber,
  );
  if (family === null || !action) return null;
  const attributes = new Attributes(payload.subarray(headerBytes));
  const cidr = (type: number, prefixLength: number): Cidr | null => {
    const address = attributes.ip(type);
    return address ? formatCidr({ family, base: ipToNumber(address), prefixLength }) : null;
  };
  const mark = attributes.u32(c.FRA_FWMARK);
  const mask = attributes.u32(c.FRA_FWMASK);
  return {
    family,
    priority: attributes.u32(c.FRA_PRIORITY) ?? 0,
    action,
    table: attributes.u32(c.FRA_TABLE) ?? payload.readUInt8(4),
    target: attributes.u32(c.FRA_GOTO) ?? null,
    destination: cidr(c.FRA_DST, payload.readUInt8(1)),
    source: cidr(c.FRA_SRC, payload.readUInt8(2)),
    inName: attributes.string(c.FRA_IIFNAME) ?? null,
    outName: attributes.string(c.FRA_OIFNAME) ?? null,
    mark: mask || mark ? { value: mark ?? 0, mask: mask ?? 0xffffffff } : null,
    protocol: attributes.u8(c.FRA_PROTOCOL) ?? 0,
    inverted: (payload.readUInt32LE(8) & c.FIB_RULE_INVERT) !== 0,
  };
}

export function formatRule(type: number, flags: number, rule: NewRule): NetlinkRequest {
  const action = rule.action ?? 'lookup';
  const table = rule.table ?? 0;
  const fixed = Buffer.alloc(headerBytes);
  fixed.writeUInt8(familyNumber(rule.family), 0);
  fixed.writeUInt8(table < 256 ? table : c.RT_TABLE_COMPAT, 4);
  fixed.writeUInt8(ruleActions[action], 7);
  fixed.writeUInt32LE(rule.inverted ? c.FIB_RULE_INVERT : 0, 8);
  const attributes = new AttributeWriter().u32(c.FRA_PRIORITY, rule.priority);
  const prefix = (attribute: number, cidr: Cidr | null | undefined, lengthOffset: number): void => {
    if (!cidr) return;
    const { family, base, prefixLength } = parseCidr(cidr);
    fixed.writeUInt8(prefixLength, lengthOffset);
    attributes.ip(attribute, numberToIp(base, family));
  };
  prefix(c.FRA_DST, rule.destination, 1);
  prefix(c.FRA_SRC, rule.source, 2);
  if (table) attributes.u32(c.FRA_TABLE, table);
  if (typeof rule.target === 'number') attributes.u32(c.FRA_GOTO, rule.target);
  if (rule.inName) attributes.string(c.FRA_IIFNAME, rule.inName);
  if (rule.outName) attributes.string(c.FRA_OIFNAME, rule.outName);
  if (rule.mark) attributes.u32(c.FRA_FWMARK, rule.mark.value).u32(c.FRA_FWMASK, rule.mark.mask);
  if (rule.protocol !== undefined) attributes.u8(c.FRA_PROTOCOL, rule.protocol);
  return { type, flags, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}
