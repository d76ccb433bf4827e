/** The kernel's refusal of a netlink request, with the errno kept. Pure. */
import { getSystemErrorMap } from 'node:util';
import { OutsideError } from '../../model/errors.js';
import type { Acknowledgement } from './message.js';

/** Refusals that may pass without anything here changing. */
const passing = new Set(['EAGAIN', 'EBUSY', 'EINTR', 'ENOBUFS', 'ENOMEM', 'ETIMEDOUT']);

export class NetlinkError extends OutsideError {
  override readonly name = 'NetlinkError';

  constructor(
    /** What was asked, for the reader: `RTM_NEWLINK`-like numbers stay in `requestType`. */
    readonly requestType: number,
    /** errno's name, e.g. `EEXIST`. */
    readonly code: string,
    /** The kernel's explanation (extended ack), when it gave one. */
    readonly text: string | null,
    options: { readonly cause?: unknown } = {},
  ) {
    super(
      `netlink request ${requestType} failed: ${code}${text ? ` (${text})` : ''}`,
      passing.has(code),
      options,
    );
  }

  static from(requestType: number, { errno, text }: Acknowledgement): NetlinkError {
    return new NetlinkError(requestType, errnoName(errno), text);
  }
}

/** `ENOENT` for 2; the kernel's few private numbers have no name in libc, ENOTSUPP (524) being the one that shows. */
const errnoName = (errno: number): string =>
  errno === 524 ? 'ENOTSUPP' : (getSystemErrorMap().get(-errno)?.[0] ?? `E${errno}`);

/** True when `err` carries one of the errno names. */
export const isErrno = (err: unknown, ...codes: string[]): boolean =>
  err instanceof Error && 'code' in err && codes.includes(err.code as string);
