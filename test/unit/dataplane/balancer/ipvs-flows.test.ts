/** IPVS's table of connections as the kernel prints it (Linux 6.1). */
import { expect, test } from 'vitest';
import { parseIpvsFlow } from '../../../../src/dataplane/balancer/ipvs-flows.js';
import { addressAndPort } from '../../../../src/model/addresses.js';

const table = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0A83203 D0A4 C0A83201 1F90 F03EC003 0050 ESTABLISHED     899
TCP C0A83203 D0A6 C0A83201 1F90 F03EC004 0050 SYN_RECV         59
TCP C0A83203 D0A2 C0A83201 1F90 F03EC003 0050 FIN_WAIT        117
UDP 0A000105 C350 0A000102 0035 0A000103 0035 UDP             299
IP  0A000105 0000 5E000002 0000 0A000103 0000 NONE            100
TCP fd00:0000:0000:0000:0000:0000:0000:0001 D0A4 fd00:0000:0000:0000:0000:0000:0000:0002 1F90 fd00:0000:0000:0000:0000:0000:0000:0003 0050 ESTABLISHED     899
`;

test('reads who called what and who answers, and leaves out what is no flow', () => {
  const flows = table.split('\n').flatMap((row) => parseIpvsFlow(row) ?? []);
  const line = (flow: (typeof flows)[number]): string =>
    [
      flow.protocol,
      addressAndPort(flow.client, flow.clientPort),
      '->',
      addressAndPort(flow.destination, flow.destinationPort),
      '=',
      addressAndPort(flow.realServer, flow.realServerPort),
      flow.state,
      flow.expiresS,
    ].join(' ');
  expect(flows.map(line)).toEqual([
    'tcp 192.168.50.3:53412 -> 192.168.50.1:8080 = 240.62.192.3:80 established 899',
    'tcp 192.168.50.3:53414 -> 192.168.50.1:8080 = 240.62.192.4:80 opening 59',
    'tcp 192.168.50.3:53410 -> 192.168.50.1:8080 = 240.62.192.3:80 closing 117',
    'udp 10.0.1.5:50000 -> 10.0.1.2:53 = 10.0.1.3:53 established 299',
    'tcp [fd00::1]:53412 -> [fd00::2]:8080 = [fd00::3]:80 established 899',
  ]);
});
