/**
 * A UDP socket whose questions are taken and answered many at a time: one call into the kernel for those that wait, one for their
 * answers. What must stay true: a socket that is never empty gets a bounded number of datagrams, then it is the next one's turn
 * (libuv asks the kernel which, and the kernel gives them in turns). An answer that the kernel does not take is lost, as on a network, and no
 * other with it. Memory is one thread's, for all of its sockets: nothing of a datagram is there once it was answered.
 */
import type { Ip } from '../../model/addresses.js';
import { numberToIp } from '../../model/addresses.js';
import { native } from '../../runtime/native.js';

/** More than who waits for answers has under way: a turn that is full is of one who does not, and for his next no time is given. */
export const datagramsPerTurn = 64;
/**
 * More than UDP's length can say, so that none is cut; pages that no datagram reaches are never there. Not a power of two: beginnings
 * would share the lines of a processor's cache.
 */
const roomBytes = 65_536 + 64;
/** A sockaddr_in6. */
const peerBytes = 28;
/** Of the kernel's headers; the other family is AF_INET6. */
const AF_INET = 2;

const octets = Buffer.allocUnsafeSlow(datagramsPerTurn * roomBytes);
const lengths = new Uint32Array(datagramsPerTurn);
const peers = Buffer.alloc(datagramsPerTurn * peerBytes);

/**
 * Answers one datagram, or gives null to say nothing. Must neither throw nor reject.
 * @param message overwritten once this has returned
 * @param from the sender's address, to be asked for before this has returned
 */
export type AnswerDatagram = (message: Buffer, from: () => Ip) => Buffer | null | Promise<Buffer | null>;

export class DatagramSocket {
  readonly #poll: { stop(): void };
  #closed = false;

  /**
   * @param fd a bound UDP socket, this one's from now on unless it throws
   * @param onError the socket is of no use any more, and still to be closed
   */
  constructor(
    private readonly fd: number,
    private readonly answer: AnswerDatagram,
    onError: (err: Error) => void,
  ) {
    this.#poll = native().answerDatagrams(fd, octets, lengths, peers, (count, error) => {
      if (error) return onError(error);
      for (let index = 0; index < count; index++) lengths[index] = this.#answered(index);
    });
  }

  /** Answers that are not ready yet are given to nobody. */
  close(): void {
    this.#closed = true;
    this.#poll.stop();
  }

  /** Puts the answer to a datagram in its place. @returns its length, 0 while there is none */
  #answered(index: number): number {
    const begin = index * roomBytes;
    const message = octets.subarray(begin, begin + (lengths[index] ?? 0));
    const peer = (): Buffer => peers.subarray(index * peerBytes, (index + 1) * peerBytes);
    const answer = this.answer(message, () => addressIn(peer()));
    if (answer instanceof Promise) {
      const to = Buffer.from(peer());
      void answer.then((late) => late && this.#send(late, to));
      return 0;
    }
    if (answer === null) return 0;
    octets.set(answer, begin);
    return answer.length;
  }

  #send(message: Buffer, to: Buffer): void {
    if (this.#closed) return;
    try {
      native().send(this.fd, message, to);
    } catch {
      // A client that is gone is no failure of ours, and one that is there asks again.
    }
  }
}

/** Of a sockaddr, without its port and its scope. */
const addressIn = (peer: Buffer): Ip =>
  peer.readUInt16LE(0) === AF_INET
    ? numberToIp(BigInt(peer.readUInt32BE(4)), 4)
    : numberToIp((peer.readBigUInt64BE(8) << 64n) | peer.readBigUInt64BE(16), 6);
