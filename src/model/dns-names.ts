/** What a name must be for DNS to carry it (RFC 1035, 2.3.4): what users call services and containers besides is free otherwise. */

/** Octets of a label, and of a whole name as it is written. */
const labelLengthMax = 63;
const nameLengthMax = 253;

/** Names that one service or container may have on one network: each becomes part of what every node of it has to know. */
export const aliasesMax = 64;

const labelPattern = /^[\x21-\x2d\x2f-\x7e]+$/;

/** Labels of printable ASCII between dots. Wider than host names: `my_db` and `*` are asked for and answered, too. */
export const isDnsName = (name: string): boolean =>
  name.length <= nameLengthMax &&
  name.split('.').every((label) => label.length <= labelLengthMax && labelPattern.test(label));

/** What is wrong with the aliases that somebody is to have on a network, in words for its user. */
export function faultOfAliases(network: string, aliases: readonly string[]): string | undefined {
  if (aliases.length > aliasesMax)
    return `${aliases.length} aliases on network ${network}: must be ${aliasesMax} or fewer`;
  const wrong = aliases.find((alias) => !isDnsName(alias));
  return wrong === undefined
    ? undefined
    : `invalid alias ${JSON.stringify(wrong.slice(0, nameLengthMax))} on network ${network}: must be printable ASCII, ` +
        `1 to ${labelLengthMax} characters between dots and ${nameLengthMax} or fewer in all`;
}
