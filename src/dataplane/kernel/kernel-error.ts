/** Failures of the kernel, typed where they enter: with the operation and the errno's name. */
import { OutsideError } from '../../model/errors.js';

/** Errnos that may pass by themselves: something the operation needs may appear, or the kernel was busy. */
const passing = new Set([
  'EAGAIN',
  'EBUSY',
  'EINTR',
  'ENETDOWN',
  'ENOBUFS',
  'ENODEV',
  'ENOENT',
  'ENOMEM',
  'ESRCH',
  'ETIMEDOUT',
]);

export class KernelError extends OutsideError {
  override readonly name: string = 'KernelError';

  constructor(
    /** What was tried, one readable line. */
    readonly op: string,
    /** errno's name, or `EXIT` for a tool that failed. */
    readonly code: string,
    options: { readonly cause?: unknown; readonly text?: string } = {},
  ) {
    super(`${op}: ${code}${options.text ? ` (${options.text})` : ''}`, passing.has(code), options);
  }
}

/** What balancing needs of the kernel and this one has not got. The overlay works without it. */
export class MissingModuleError extends KernelError {
  override readonly name = 'MissingModuleError';

  constructor(
    /** The kernel module that provides it, e.g. `ip_vs`. */
    readonly module: string,
    options: { readonly cause?: unknown } = {},
  ) {
    super(`this kernel lacks the module ${module}`, 'ENOPROTOOPT', options);
  }
}

/** errno's name of whatever was thrown. */
export const errnoOf = (err: unknown): string =>
  err instanceof Error && 'code' in err && typeof err.code === 'string' ? err.code : 'UNKNOWN';

/** A failed call of netlink or the addon as KernelError; a bug stays what it is. */
export function toKernelError(what: string, err: unknown): unknown {
  if (err instanceof KernelError) return err;
  if (!(err instanceof Error) || !('code' in err) || err.name === 'AssertionError') return err;
  return new KernelError(what, errnoOf(err), { cause: err, text: err.message });
}
