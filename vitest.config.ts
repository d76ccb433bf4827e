import { configDefaults, defineConfig } from 'vitest/config';

/**
 * One project per kind of test, so that each can be run alone:
 * unit needs no root; sim runs the control loops against fake agents from a seed; kernel makes namespaces on this
 * machine's own kernel; conformance decides what a balancer engine means, on `ebpf`; faults breaks nodes at random;
 * uml boots user-mode Linux for the same as conformance on `ipvs`; qemu boots Debian's stock kernel; engine starts a
 * real etcd and a real Docker Engine, package a host that installs Skep; swarm compares with Docker's own Swarm mode; lab runs whole clusters on this machine's own kernel, lab-uml those of user-mode Linux.
 */
const project = (name: string, options: Record<string, unknown> = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], environment: 'node', ...options },
});

/** They measure time, so that nothing else may run beside them. */
const faults = 'test/conformance/faults.test.ts';
const umlFaults = 'test/uml/faults.test.ts';
/** Measures time, too, in a lab. */
const reboots = 'test/lab/reboots.test.ts';
/** Builds packages, and boots a host with systemd: a lane of its own. */
const packageOnHost = 'test/engine/package.test.ts';
const labFile = (name: string): string => `test/lab/${name}.test.ts`;
/** Labs whose tests say nothing of time, and share the machine with others: of what runs in a swarm, and of the swarm itself. */
const sharedLabs = ['attachable', 'networks', 'sdk', 'services', 'stacks', 'surface'].map(labFile);
const swarmLabs = ['autolock', 'backup', 'documentation', 'lab', 'root-rotation'].map(labFile);
const lab = { testTimeout: 600_000, hookTimeout: 600_000, fileParallelism: false };

export default defineConfig({
  test: {
    projects: [
      // Long enough for two cores that others want, too: what hangs, hangs longer. Files share processes: to load the same modules for
      // each took a third of the time. They mostly wait, so there is one more of them than there are cores.
      project('unit', { testTimeout: 20_000, isolate: false, maxWorkers: 3 }),
      project('sim', { testTimeout: 60_000, isolate: false }),
      project('kernel', { testTimeout: 30_000, hookTimeout: 30_000 }),
      project('conformance', { hookTimeout: 190_000, exclude: [...configDefaults.exclude, faults] }),
      project('faults', { include: [faults] }),
      project('faults-uml', { include: [umlFaults] }),
      project('uml', {
        ...{ testTimeout: 180_000, hookTimeout: 180_000, fileParallelism: false },
        exclude: [...configDefaults.exclude, umlFaults],
      }),
      project('qemu', { testTimeout: 150_000, hookTimeout: 150_000, fileParallelism: false }),
      project('engine', {
        ...{ testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false },
        exclude: [...configDefaults.exclude, packageOnHost],
      }),
      project('package', { testTimeout: 120_000, hookTimeout: 120_000, include: [packageOnHost] }),
      project('bench', { include: ['bench/**/*.bench.ts'], disableConsoleIntercept: true }),
      project('swarm', lab),
      project('lab-uml', lab),
      project('lab-reboots', { ...lab, include: [reboots] }),
      project('lab-shared', { ...lab, include: sharedLabs }),
      project('lab-swarm', { ...lab, include: swarmLabs }),
      project('lab', {
        ...lab,
        fileParallelism: true,
        maxWorkers: 2,
        exclude: [...configDefaults.exclude, ...sharedLabs, ...swarmLabs, reboots],
      }),
    ],
  },
});
