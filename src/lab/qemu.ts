/**
 * QEMU guests on Debian 12's stock kernel, as lab nodes and tests boot them: two processors without KVM, the machine's root
 * through virtiofs, an overlay above it (scripts/qemu-kernel.sh, qemu-initramfs-init.sh). A guest is off when its QEMU ends,
 * and a file server ends with the guest it serves. Code in a guest runs three to twenty times slower than here.
 */
import { existsSync, realpathSync } from 'node:fs';
import { SkepError } from '../model/errors.js';
import { cacheDir } from './layout.js';

export const qemu = '/usr/bin/qemu-system-x86_64';
export const virtiofsd = '/usr/lib/qemu/virtiofsd';
const kernelLink = `${cacheDir}/kernel/current`;

/** A guest, as far as guests differ. */
export interface Guest {
  readonly memoryMiB: number;
  /** First program on the guest's root, by its path on the machine. */
  readonly init: string;
  /** Its environment; values without double quotes. */
  readonly environment: Readonly<Record<string, string>>;
  /** Tag and socket of each file server; one must be called `root`. */
  readonly files: Readonly<Record<string, string>>;
  /** File on this machine that takes what the guest says on its serial console. */
  readonly console: string;
  /** More arguments for QEMU. */
  readonly devices: readonly string[];
}

/** The command that serves `directory` to one guest over a unix socket, and ends with it. */
export const fileServerCommand = (
  socket: string,
  directory: string,
  cache: 'auto' | 'always',
): readonly string[] => [
  virtiofsd,
  ...[`--socket-path=${socket}`, '-o', `source=${directory}`, '-o', `cache=${cache}`],
  // Its own way, with namespaces, cannot pivot to a directory that is the root already.
  ...['-o', 'sandbox=chroot'],
];

/** What virtiofsd leaves on this machine beside its socket. */
export const fileServerLock = (socket: string): string => `/run/virtiofsd/${socket.replaceAll('/', '.')}.pid`;

/** The command that is the guest's machine. Throws SkepError if there is no kernel for it. */
export function guestCommand({
  memoryMiB,
  init,
  environment,
  files,
  console,
  devices,
}: Guest): readonly string[] {
  const kernel = currentKernel();
  return [
    qemu,
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'pc', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', `${memoryMiB}M`],
    // Shared, so that the file servers reach what the guest asks of them.
    ...['-object', `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ...['-numa', 'node,memdev=memory'],
    ...['-chardev', `file,id=console,append=on,path=${console}`, '-serial', 'chardev:console'],
    ...Object.entries(files).flatMap(([tag, socket]) => [
      ...['-chardev', `socket,id=${tag},path=${socket}`],
      ...['-device', `vhost-user-fs-pci,chardev=${tag},tag=${tag}`],
    ]),
    ...devices,
    ...['-kernel', `${kernel}/vmlinuz`, '-initrd', `${kernel}/initramfs`, '-append'],
    [
      // A panic ends QEMU at once. Mitigations would cost emulated code much and protect it from nobody.
      ...['console=ttyS0', 'quiet', 'panic=-1', 'mitigations=off', 'nokaslr'],
      // Below /run/lab/base is the machine's own root, whatever the guest has mounted above it.
      ...[`skep_init=/run/lab/base${init}`, `skep_kernel=${kernel}`],
      ...Object.entries(environment).map(([name, value]) => `${name}="${value}"`),
    ].join(' '),
  ];
}

function currentKernel(): string {
  if (!existsSync(`${kernelLink}/initramfs`))
    throw new SkepError('failedPrecondition', `no kernel for QEMU guests at ${kernelLink}`, {
      advice: {
        means: "Nodes in QEMU boot Debian 12's stock kernel, which has not been fetched.",
        todo: 'Run scripts/setup.sh, which fetches it; or take another kernel (--kernel host or uml).',
      },
    });
  return realpathSync(kernelLink);
}
