/** Bounds that the dataplane's arithmetic sets to what users may ask for; checked where input enters. */

/** Bits of a mesh alias that name the node, and bits that name the task: the /4 of aliases leaves 28. */
export const aliasPartBits = 14;

/** The largest ingress subnet, as its prefix length: host parts must fit an alias (ADR 5). */
export const ingressPrefixLengthMin = 32 - aliasPartBits;

/** Host parts of VIPs stand in the low bits of packet marks (dataplane/state.ts). */
export const hostPartBitsMax = 24;
