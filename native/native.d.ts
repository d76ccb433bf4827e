/** The whole native surface: file descriptors, namespaces, ends of processes and errno. Absent values cross as `null`. */

/**
 * Opens a netlink socket inside a network namespace, on a thread of its own, and binds it.
 * @param netnsPath path of the namespace, or null for the caller's own
 * @param protocol NETLINK_ROUTE (0), NETLINK_GENERIC (16), NETLINK_NETFILTER (12)
 * @param groups multicast group numbers to join
 * @throws Error with `code` (errno name), `errno` and `syscall`
 */
export function openNetlink(netnsPath: string | null, protocol: number, groups: readonly number[]): number;

/**
 * Sends one datagram; throws with `code`.
 * @param peer to whom, as {@link answerDatagrams} gives it; without one, as the socket is bound
 */
export function send(fd: number, data: Uint8Array, peer?: Buffer): void;

/**
 * Calls `onReadable(datagram, error)` for every datagram until `stop()` of the result is called, which also
 * closes the fd. `error` carries `code` (ENOBUFS: messages were lost).
 */
export function poll(
  fd: number,
  onReadable: (datagram: Buffer | null, error: NodeJS.ErrnoException | null) => void,
): { stop(): void };

/**
 * Calls `onEnd` once when the process has ended, whosever child it is; not once `stop()` of the result was called, which is to be
 * called in any case.
 * @throws Error with `code`: ESRCH when there is no such process (any more), ENOSYS before Linux 5.3
 */
export function watchProcess(pid: number, onEnd: () => void): { stop(): void };

/**
 * Calls `onReadable(count, error)` with as many datagrams of a UDP socket as there are, at most 64, and sends their answers when it
 * returns, each to its sender; an answer that cannot be sent is lost, and no other. Until `stop()` of the result is called, which also closes
 * the fd. All three stay the caller's, may be those of other sockets too, and hold nothing of a call after it.
 * @param octets room for each datagram, one after the other, cut where it is longer; an answer goes where its question was
 * @param lengths of each datagram; to be set to its answer's, 0: none. As many as one call is to take
 * @param peers each one's sender: a sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)) in 28 octets
 */
export function answerDatagrams(
  fd: number,
  octets: Buffer,
  lengths: Uint32Array,
  peers: Buffer,
  onReadable: (count: number, error: NodeJS.ErrnoException | null) => void,
): { stop(): void };

/** Makes a new network namespace and bind-mounts it at `path` (an empty file is made first). */
export function createNetns(path: string): void;

/** Unmounts and removes what {@link createNetns} made; absent is no error. */
export function deleteNetns(path: string): void;

/** Opens a file as seen from inside a network namespace (for /proc/sys/net), flags as in open(2). Gives the fd. */
export function openInNetns(netnsPath: string, path: string, flags: number): number;

/**
 * A bound socket inside a namespace: `udp` for {@link answerDatagrams} or `dgram` (by `{ fd }`), `tcp` already listening for `net.Server.listen({ fd })`.
 */
export function bindInNetns(
  netnsPath: string | null,
  type: 'udp' | 'tcp',
  address: string,
  port: number,
): number;

/**
 * A raw socket in a namespace, for {@link poll}: a copy of each IPv4 packet of the protocol that is for the namespace itself, from
 * the IP header on.
 * @param filter classic BPF, 8 octets an instruction: which packets
 */
export function openRaw(netnsPath: string | null, protocol: number, filter: Buffer): number;

/** A packet socket bound to a device of a namespace, for {@link send}: whole frames; it receives nothing. */
export function openPacketSender(netnsPath: string | null, device: string): number;

/**
 * As {@link openPacketSender}, and for {@link poll}: whole frames of that type that the device hands up to its namespace.
 * @param filter classic BPF from the Ethernet header on, 8 octets an instruction: which frames
 */
export function openPacket(
  netnsPath: string | null,
  device: string,
  etherType: number,
  filter: Buffer,
): number;

/**
 * Two descriptors, the caller's, through which {@link firewallDigest} asks for a family's tables of iptables-legacy in a namespace,
 * which they keep there until they are closed. The first is -1 where the kernel has nothing of it (yet), the second where it has not the family.
 * @throws Error with `code`: ENOENT, EINVAL no such namespace
 */
export function openFirewall(netnsPath: string | null, family: 4 | 6): [names: number, socket: number];

/**
 * A digest of these tables, counters left out; the same one where there are none.
 * @param whole all rules are read; else only how many each table has, their octets, and where those of each hook are, for
 * which the kernel copies nothing
 * @throws Error with `code`
 */
export function firewallDigest(names: number, socket: number, family: 4 | 6, whole: boolean): bigint;

/**
 * A descriptor, the caller's, through which {@link ipvsTable} asks for IPVS's table of a namespace, which it keeps there until it is closed.
 * @throws Error with `code`: ENOENT, EINVAL no such namespace
 */
export function openIpvs(netnsPath: string | null): number;

/**
 * IPVS's virtual servers of the socket's namespace that are found by mark and of IPv4, with their real servers: for each its mark, flags
 * (IP_VS_SVC_F_), timeout of persistence in seconds and number of real servers, 32 bits each in the host's order, and the
 * scheduler's name in 16 octets; then for each real server its address as four octets, and port, flags (IP_VS_CONN_F_) and
 * weight in 32 bits.
 * @throws Error with `code`: ENOPROTOOPT no IPVS
 */
export function ipvsTable(socket: number): Buffer;

/** A process that {@link startTool} has started. The descriptors are pipes, the caller's to read and close. */
export interface StartedTool {
  readonly pid: number;
  readonly stdout: number;
  readonly stderr: number;
}

/**
 * Starts a program in a network namespace, found by PATH, with `input` as its standard input; {@link toolStatus} must be asked until it
 * says how it ended.
 * @param words the program and its arguments, 64 at most
 * @throws Error with `code` and `syscall`: `posix_spawn` ENOENT no such program; `open`, `setns` no such namespace
 */
export function startTool(netnsPath: string | null, words: readonly string[], input: Buffer): StartedTool;

/** The exit status of such a process, or its signal's number, negative; null while it runs. Once told, it is forgotten. */
export function toolStatus(pid: number): number | null;

/** A descriptor of the namespace at `path`, for RTM_NEWLINK with IFLA_NET_NS_FD; close it with fs.closeSync. */
export function openNetns(path: string): number;

/** A map of a loaded object. Its descriptor is the caller's to close; the pin keeps the map. */
export interface LoadedMap {
  readonly fd: number;
  /** BPF_MAP_TYPE_ */
  readonly type: number;
  /** BPF_F_ */
  readonly flags: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  /** As the kernel has it: that of the pinned map, when there was one. */
  readonly entriesMax: number;
  /** True when it was pinned already: with what is in it. */
  readonly reused: boolean;
}

/** A program of a loaded object. Its descriptor is the caller's to close. */
export interface LoadedProgram {
  readonly fd: number;
  /** Digest of its instructions, 16 hex digits; it does not depend on the maps it uses. */
  readonly tag: string;
  readonly id: number;
}

/**
 * Loads the programs of an object file with maps pinned by their names in `pinDirectory` (made when absent, on a bpffs).
 * A map that is pinned there is used as it is, with the capacity it has. Takes as long as the verifier does.
 * @param capacities entries of the maps that shall not have what the object says
 * @throws Error with `code`: ENOENT no such object; EEXIST a pinned map has another layout (`message` says which);
 * EPERM without the right to; EINVAL, EACCES and others with the last lines of the verifier in `message`
 */
export function bpfLoad(
  objectPath: string,
  pinDirectory: string,
  capacities: Readonly<Record<string, number>>,
): {
  readonly maps: Readonly<Record<string, LoadedMap>>;
  readonly programs: Readonly<Record<string, LoadedProgram>>;
};

/** The value of one entry, null when absent. A Buffer of a wrong length is a TypeError, here and below. */
export function bpfGet(fd: number, key: Buffer): Buffer | null;

/** Makes or replaces one entry. E2BIG: a hash is full, or an array has no such index. */
export function bpfPut(fd: number, key: Buffer, value: Buffer): void;

/** False when there was no such entry. */
export function bpfDelete(fd: number, key: Buffer): boolean;

/**
 * Up to `countMax` entries, keys and values one after the other; more if a single bucket of a hash has more.
 * @param cursor null for the first, then what the call before gave; for an array also the index before the first one
 * wanted (little-endian). The cursor of the result is null when there are no more entries.
 */
export function bpfGetBatch(
  fd: number,
  cursor: Buffer | null,
  countMax: number,
): {
  readonly keys: Buffer;
  readonly values: Buffer;
  readonly count: number;
  readonly cursor: Buffer | null;
};

/**
 * The values of `count` entries (at least one) of an array with BPF_F_MMAPABLE from `first` on, one after the other: one look at the
 * kernel's memory, however many there are.
 */
export function bpfReadMapped(fd: number, first: number, count: number): Buffer;

/**
 * True when an array with BPF_F_MMAPABLE begins with `values`, one after the other, and the `zeros` entries behind them are zero; at
 * least one entry in all. Compared where they lie: a copy of megabytes would cost several times what looking at them does.
 */
export function bpfMappedHolds(fd: number, values: Buffer, zeros: number): boolean;

/** Makes or replaces entries in order; those before the one that fails stay. */
export function bpfPutBatch(fd: number, keys: Buffer, values: Buffer, count: number): void;

/** Deletes entries of a hash, absent ones being no error; gives how many there were. */
export function bpfDeleteBatch(fd: number, keys: Buffer, count: number): number;

/**
 * Runs a tc program once on a packet (from its Ethernet header on) without sending it: BPF_PROG_TEST_RUN. The links are those of
 * the caller's namespace. The kernel lets nothing else of the context be set, tc_classid least of all.
 */
export function bpfTestRun(
  programFd: number,
  packet: Buffer,
  context: {
    readonly mark?: number;
    readonly priority?: number;
    readonly ifindex?: number;
    readonly ingressIfindex?: number;
    readonly gsoBytes?: number;
    readonly gsoSegments?: number;
  },
): {
  /** TC_ACT_; negative ones as such. */
  readonly result: number;
  readonly packet: Buffer;
  readonly mark: number;
  readonly ifindex: number;
  readonly durationNs: number;
};

/** How long flows may be idle, by protocol and state, in seconds. */
export interface FlowTimeouts {
  readonly tcpEstablishedS: number;
  /** Also SCTP's. */
  readonly tcpHalfOpenS: number;
  /** Both sides have closed, or one has reset. Also SCTP's. */
  readonly tcpClosedS: number;
  /** Also of protocols without states. */
  readonly udpAnsweredS: number;
  readonly udpUnansweredS: number;
  readonly sctpEstablishedS: number;
}

/** What one run of the expiry met. */
export interface FlowCounts {
  /** Entries, of requests and replies. */
  readonly seen: number;
  /** Flows deleted for having been idle. */
  readonly expired: number;
  /** Flows deleted because their real server is gone. */
  readonly voided: number;
  /** Reply entries deleted because their request is gone. */
  readonly orphaned: number;
  /** Flows that stay in skep_flows. */
  readonly established: number;
  /** Real servers whose number in skep_active was wrong. */
  readonly corrected: number;
}

/**
 * Deletes flows that have been idle for too long in either direction, those of real servers that are gone, and reply entries
 * without a request; and counts skep_active again. On libuv's pool. Two runs at a time are allowed and of no use.
 * @param fds of skep_flows, skep_young_flows, skep_real_servers and skep_active (which must be BPF_F_MMAPABLE)
 */
export function bpfExpireFlows(
  fds: {
    readonly flows: number;
    readonly youngFlows: number;
    readonly realServers: number;
    readonly active: number;
  },
  timeouts: FlowTimeouts,
): Promise<FlowCounts>;

/** Mounts a BPF file system on the directory, unless it is one. True when it was mounted now. */
export function mountBpffs(path: string): boolean;
