/** The whole native surface: file descriptors, namespaces and errno. Absent values cross as `null`. */

/**
 * Opens a netlink socket inside a network namespace, on a thread of its own, and binds it.
 * @param netnsPath path of the namespace, or null for the caller's own
 * @param protocol NETLINK_ROUTE (0), NETLINK_GENERIC (16), NETLINK_NETFILTER (12)
 * @param groups multicast group numbers to join
 * @throws Error with `code` (errno name), `errno` and `syscall`
 */
export function openNetlink(netnsPath: string | null, protocol: number, groups: readonly number[]): number;

/** Sends one datagram; throws with `code`. */
export function send(fd: number, data: Uint8Array): void;

/**
 * Calls `onReadable(datagram, error)` for every datagram until `stop()` of the result is called, which also
 * closes the fd. `error` carries `code` (ENOBUFS: messages were lost).
 */
export function poll(
  fd: number,
  onReadable: (datagram: Buffer | null, error: NodeJS.ErrnoException | null) => void,
): { stop(): void };

/** Makes a new network namespace and bind-mounts it at `path` (an empty file is made first). */
export function createNetns(path: string): void;

/** Unmounts and removes what {@link createNetns} made; absent is no error. */
export function deleteNetns(path: string): void;

/** Opens a file as seen from inside a network namespace (for /proc/sys/net), flags as in open(2). Gives the fd. */
export function openInNetns(netnsPath: string, path: string, flags: number): number;

/**
 * A bound socket inside a namespace: `udp` for `dgram` (by `{ fd }`), `tcp` already listening for `net.Server.listen({ fd })`.
 */
export function bindInNetns(
  netnsPath: string | null,
  type: 'udp' | 'tcp',
  address: string,
  port: number,
): number;

/** A descriptor of the namespace at `path`, for RTM_NEWLINK with IFLA_NET_NS_FD; close it with fs.closeSync. */
export function openNetns(path: string): number;
