/**
 * One overlay's DNS sockets: UDP and TCP port 53 on the node's own address there, opened inside the overlay's namespace.
 * What must stay true: both are open or neither is, and closing frees both descriptors. TCP is bounded by connections,
 * by one question at a time on each, and by an idle deadline.
 */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Ip } from '../../model/addresses.js';
import { familyOf, parseIp } from '../../model/addresses.js';
import { native } from '../native.js';
import { framed } from './forwarder.js';

const connectionsMax = 64;
const idleMs = 5000;

/** Answers one message, or gives null to say nothing. Must not reject. */
export type AnswerMessage = (message: Buffer, from: Ip, transport: 'udp' | 'tcp') => Promise<Buffer | null>;

export class DnsListener {
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  readonly #connections = new Set<Socket>();
  #closed = false;

  /**
   * Opens both sockets.
   * @param netns path of the namespace
   * @param onError called once when a socket fails later; the listener is closed by then
   * @throws Error with `code`: ENOENT without the namespace, EADDRNOTAVAIL until it has the address
   */
  constructor(
    netns: string,
    address: Ip,
    port: number,
    private readonly answer: AnswerMessage,
    private readonly onError: (err: Error) => void,
  ) {
    const udpFd = native().bindInNetns(netns, 'udp', address, port);
    let tcpFd: number;
    try {
      tcpFd = native().bindInNetns(netns, 'tcp', address, port);
    } catch (err) {
      closeSync(udpFd);
      throw err;
    }
    this.#udp = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6');
    this.#udp.on('error', (err) => this.#fail(err));
    this.#udp.on('message', (message, { address: from, port: fromPort }) => {
      void this.answer(message, canonical(from), 'udp').then((response) => {
        // A client that is gone is no failure of ours.
        if (response && !this.#closed) this.#udp.send(response, fromPort, from, () => undefined);
      });
    });
    this.#udp.bind({ fd: udpFd });
    this.#tcp = createServer((connection) => this.#serve(connection));
    this.#tcp.maxConnections = connectionsMax;
    this.#tcp.on('error', (err) => this.#fail(err));
    this.#tcp.listen({ fd: tcpFd });
  }

  /** Closes both sockets and every connection. A second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#udp.close();
    this.#tcp.close();
    for (const connection of this.#connections) connection.destroy();
  }

  #fail(err: Error): void {
    if (this.#closed) return;
    this.close();
    this.onError(err);
  }

  #serve(connection: Socket): void {
    const from = canonical(connection.remoteAddress ?? '0.0.0.0');
    let received = Buffer.alloc(0);
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    connection.setTimeout(idleMs, () => connection.destroy());
    const next = async (): Promise<void> => {
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const message = received.subarray(2, end);
        received = received.subarray(end);
        const response = await this.answer(message, from, 'tcp');
        if (connection.destroyed) return;
        if (!response) return void connection.destroy();
        connection.write(framed(response));
      }
      connection.resume();
    };
    connection.on('data', (data) => {
      received = Buffer.concat([received, data]);
      connection.pause(); // until what is here is answered
      void next();
    });
  }
}

/** Without the zone that Node puts behind link-local addresses. */
const canonical = (address: string): Ip => parseIp(address.replace(/%.*$/, ''));
