/** The kernels a lab's nodes can run on, as `skep lab up --kernel` names them. */
import type { kernelNames } from '../cli/lab-commands.js';
import type { MachineKind } from './machine.js';
import { hostMachine } from './machine-host.js';
import { qemuMachine } from './machine-qemu.js';
import { umlMachine } from './machine-uml.js';

export const kernels = {
  host: hostMachine,
  uml: umlMachine,
  qemu: qemuMachine,
} as const satisfies Record<(typeof kernelNames)[number], MachineKind>;

export type Kernel = keyof typeof kernels;
