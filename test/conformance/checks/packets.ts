/** Packets that are no plain part of a flow: ICMP errors, fragments. */
import assert from 'node:assert';
import { mynetAddress, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertClient } from '../check.js';
import { clientAddress, closedPort, nodes, ports, targetPorts, vip } from '../world.js';

/** linux/icmp.h */
const ICMP_DEST_UNREACH = 3;
const ICMP_PORT_UNREACH = 3;
const ICMP_FRAG_NEEDED = 4;
/** The underlay's MTU less VXLAN's overhead. */
const overlayMtuBytes = 1450;
/** IP and UDP headers. */
const udpHeaderBytes = 28;

export const packetChecks: readonly Check[] = [
  {
    name: "a task's ICMP error reaches the client as about what it called",
    run: async ({ client }) => {
      for (const node of nodes) {
        const error = answered(await client.icmpError({ host: vtepOf(node), port: ports.udpRefused }));
        assert.deepEqual(error, {
          errno: 'ECONNREFUSED',
          local: false,
          type: ICMP_DEST_UNREACH,
          code: ICMP_PORT_UNREACH,
          info: 0,
          offender: vtepOf(node),
          destination: `${vtepOf(node)}:${ports.udpRefused}`,
        });
      }
    },
  },
  {
    name: "a task's ICMP error about a VIP reaches the caller",
    run: async ({ caller }) => {
      for (let i = 0; i < 3; i += 1) {
        const error = answered(await caller.icmpError({ host: vip, port: closedPort }));
        assert.equal(error.errno, 'ECONNREFUSED');
        assert.equal(error.destination, `${vip}:${closedPort}`);
      }
    },
  },
  {
    name: 'a 4,000-byte datagram through the mesh, fragmented both ways',
    run: async ({ client }) => {
      for (const node of nodes) {
        const target = { host: vtepOf(node), port: ports.udp, size: 4_000 };
        // From several ports, so that every task is asked, and more than once from each.
        for (let flow = 0; flow < 3; flow += 1) {
          const answers = await client.askUdp(target, 2);
          assertClient(answers, clientAddress);
          for (const answer of answers) {
            const { intact, bytes, from } = answered(answer);
            assert.deepEqual(
              { intact, bytes, from },
              { intact: true, bytes: 4_000, from: `${vtepOf(node)}:${ports.udp}` },
            );
          }
        }
      }
    },
  },
  {
    name: 'a 4,000-byte datagram to a VIP, fragmented both ways',
    run: async ({ caller }) => {
      const target = { host: vip, port: targetPorts.udp, size: 4_000, source: mynetAddress(5) };
      for (const answer of await caller.manyUdp(target, 6)) {
        const { intact, bytes } = answered(answer);
        assert.deepEqual({ intact, bytes }, { intact: true, bytes: 4_000 });
      }
    },
  },
  {
    name: 'a datagram that just fits the underlay, and may be fragmented, comes through',
    run: async ({ client }) => {
      const size = 1_500 - udpHeaderBytes;
      for (const node of nodes)
        for (const answer of await client.manyUdp({ host: vtepOf(node), port: ports.udp, size }, 3))
          assert(answered(answer).intact);
    },
  },
  {
    name: 'a datagram too large for the tunnel, not to be fragmented, tells its sender',
    // The client remembers the path's MTU from then on: one that no other check uses for large datagrams.
    run: async (world) => {
      for (const node of nodes) {
        const target = {
          host: vtepOf(node),
          port: ports.udp,
          size: 1_500 - udpHeaderBytes,
          dontFragment: true,
        };
        const error = answered(await world.peer('other').icmpError(target));
        assert.deepEqual(error, {
          errno: 'EMSGSIZE',
          local: false,
          type: ICMP_DEST_UNREACH,
          code: ICMP_FRAG_NEEDED,
          info: overlayMtuBytes,
          offender: vtepOf(node),
          destination: `${vtepOf(node)}:${ports.udp}`,
        });
        const fits = { ...target, size: overlayMtuBytes - udpHeaderBytes };
        const [answer] = await world.peer('other').askUdp(fits);
        assert(answer);
        assert(answered(answer).intact);
      }
    },
  },
];
