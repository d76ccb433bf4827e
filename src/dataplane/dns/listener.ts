/**
 * A pair of DNS sockets in a namespace, UDP and TCP on one address and port: on the node's own address in an overlay's, on
 * loopback in a container's. What must stay true: both are open or neither is, and closing frees both descriptors; nobody
 * keeps the others of the process waiting. UDP is bounded by datagrams in one turn of the event loop (datagrams.ts). TCP is bounded by connections, of all and of one source, by one question at a time on
 * each, by as many in one turn of the event loop as UDP, and by an idle deadline.
 */
import { closeSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Ip } from '../../model/addresses.js';
import { parseIp } from '../../model/addresses.js';
import { native } from '../../runtime/native.js';
import { DatagramSocket, datagramsPerTurn } from './datagrams.js';
import { framed } from './forwarder.js';
import type { Transport } from './wire.js';

/** TCP connections of one listener. */
export const connectionsMax = 64;
const idleMs = 5000;

/**
 * Answers one message, or gives null to say nothing; at once where it can, for a promise costs as much as finding a name does. Must
 * neither throw nor reject.
 * @param message overwritten once this has returned
 * @param from the asker's address, to be asked for before this has returned
 */
export type AnswerMessage = (
  message: Buffer,
  from: () => Ip,
  transport: Transport,
) => Buffer | null | Promise<Buffer | null>;

export class DnsListener {
  readonly #udp: DatagramSocket;
  readonly #tcp: Server;
  /** With their sources. */
  readonly #connections = new Map<Socket, Ip>();
  #closed = false;

  /**
   * Opens both sockets.
   * @param netns path of the namespace
   * @param perSourceMax TCP connections of one source
   * @param onError called once when a socket fails later; the listener is closed by then
   * @throws Error with `code`: ENOENT without the namespace, EADDRNOTAVAIL until it has the address
   */
  constructor(
    netns: string,
    address: Ip,
    port: number,
    private readonly perSourceMax: number,
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
    try {
      this.#udp = new DatagramSocket(
        udpFd,
        (message, from) => this.answer(message, from, 'udp'),
        (err) => this.#fail(err),
      );
    } catch (err) {
      closeSync(udpFd);
      closeSync(tcpFd);
      throw err;
    }
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
    for (const connection of this.#connections.keys()) connection.destroy();
  }

  #fail(err: Error): void {
    if (this.#closed) return;
    this.close();
    this.onError(err);
  }

  #serve(connection: Socket): void {
    // Absent where the client has gone already.
    if (connection.remoteAddress === undefined) return void connection.destroy();
    const from = addressOf(connection.remoteAddress);
    let received = Buffer.alloc(0);
    connection.on('error', () => connection.destroy());
    const ofSource = [...this.#connections.values()].filter((one) => one === from).length;
    if (ofSource >= this.perSourceMax) return void connection.destroy();
    this.#connections.set(connection, from);
    connection.on('close', () => this.#connections.delete(connection));
    connection.setTimeout(idleMs, () => connection.destroy());
    const next = async (): Promise<void> => {
      for (let answered = 1; received.length >= 2; answered++) {
        if (received.length < 2 + received.readUInt16BE(0)) break;
        const end = 2 + received.readUInt16BE(0);
        const message = received.subarray(2, end);
        received = received.subarray(end);
        const response = await this.answer(message, () => from, 'tcp');
        if (connection.destroyed) return;
        if (!response) return void connection.destroy();
        // A client that reads no answers gets no more of them.
        if (!connection.write(framed(response))) await drained(connection);
        if (connection.destroyed) return;
        if (answered % datagramsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
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

/** Resolves when what was written has gone, or the connection is closed. */
const drained = (connection: Socket): Promise<void> =>
  new Promise((resolve) => {
    const settle = (): void => {
      connection.off('drain', settle).off('close', settle);
      resolve();
    };
    connection.on('drain', settle).on('close', settle);
  });

/** The address of a message's sender, without the zone that Node puts behind link-local ones. */
const addressOf = (address: string): Ip => parseIp(address.replace(/%.*$/, ''));
