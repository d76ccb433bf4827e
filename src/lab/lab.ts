/**
 * One lab: a few plain hosts on one network and a client beside them, as `skep lab` and the tests use it.
 * Whatever is true of a lab is on disk or in the kernel, so any process may open it by name. `up` either ends with
 * every node ready or takes everything down again; `down` needs no complete lab and leaves nothing of it.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { OutsideError, SkepError } from '../model/errors.js';
import { CleanupStack } from '../runtime/cleanup-stack.js';
import { removeEmptyGroup, removeGroups } from './cgroups.js';
import { defaultLab } from '../cli/lab-commands.js';
import { hostCommand, tryHostCommand } from './host-command.js';
import type { CommandResult, HostCommandOptions } from './host-command.js';
import { ensureImages, importScript } from './images.js';
import { labNames, labsDir, nodesOf, readState, writeState } from './lab-state.js';
import type { LabState } from './lab-state.js';
import { labPaths, nodesMax } from './layout.js';
import type { LabPaths, NodeLayout } from './layout.js';
import { kernels } from './kernels.js';
import type { Kernel } from './kernels.js';
import { createDisk, killInNamespaces, machinePid } from './machine.js';
import type { MachineKind } from './machine.js';
import { awaitPing, callAgent } from './remote-command.js';
import type { CommandStreams } from './remote-command.js';
import { createSwitch, cutPorts, healPorts, inNamespace, observeCuts, removeSwitch } from './switch.js';

/** The tree this code was built in; a node's daemons come from its bin directory. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const engineSocket = '/run/docker.sock';
const apiSocket = '/run/skep/docker.sock';
const engineDeadlineMs = 120_000;
const apiDeadlineMs = 60_000;
const logLinesShown = 15;

/** What `up` is told. */
export interface UpOptions {
  readonly name: string;
  readonly nodes: number;
  /** Ready means that the engines answer; Skep's daemons are started but not waited for. */
  readonly engineOnly?: boolean;
  /**
   * The engines are for their own Swarm mode: they do not keep containers over their restarts, with which it refuses to work, and
   * no daemon of Skep runs beside them. Implies `engineOnly`.
   */
  readonly swarmMode?: boolean;
  /** What the nodes run on; by default `host`, namespaces on this machine's own kernel. */
  readonly kernel?: Kernel;
  /** The balancer engine that skep-dataplane must use (`ipvs`, `ebpf`, `auto`); without it, what it chooses. */
  readonly balancer?: string;
  /** What services may have of the nodes' host, as SKEP_ALLOW says it; without it, nothing. */
  readonly allow?: string;
  /** Directory with the dockerd of the nodes and what it starts, as {@link laterEngine}; without it, the machine's own. */
  readonly engine?: string;
  /**
   * A Debian package of Skep (dist-package/skep_VERSION_amd64.deb, absolute): each node installs it on its own disk and runs the daemons
   * from there. Without it, the checkout's daemons run.
   */
  readonly package?: string;
  /** Called with one line for a human, now and then. */
  readonly progress: (line: string) => void;
}

/** One row of `skep lab status`. */
export interface NodeStatus {
  readonly name: string;
  readonly address: string;
  readonly state: 'running' | 'off';
  readonly pid?: number;
}

/** One row of `skep lab ls`. */
export interface LabSummary {
  readonly name: string;
  readonly nodes: number;
  /** How many of them. */
  readonly running: number;
  /** Undefined for an `up` that was interrupted before it started anything. */
  readonly kernel?: Kernel;
  /** False while it is being made, and after an `up` that was interrupted. */
  readonly complete: boolean;
}

export class Lab {
  readonly paths: LabPaths;
  readonly nodes: readonly NodeLayout[];
  readonly #machine: MachineKind;

  private constructor(
    readonly name: string,
    readonly state: LabState,
  ) {
    this.paths = labPaths(name);
    this.nodes = nodesOf(this.paths, state.nodes);
    this.#machine = kernels[state.kernel];
  }

  /** The lab that is up under this name; refused with notFound if there is none. */
  static open(name: string): Lab {
    const paths = labPaths(name);
    const state = existsSync(paths.complete) ? readState(paths) : undefined;
    if (!state)
      throw new SkepError('notFound', `no lab called ${name} is up`, {
        advice: {
          means: 'There is none of this name on this machine, or it is not complete yet.',
          todo: `"skep lab ls" lists the labs there are; "skep lab up --name ${name}" starts this one.`,
        },
      });
    return new Lab(name, state);
  }

  /** Builds the lab and waits until every node's engine and API answer. Undone as a whole when a step fails. */
  static async up({ name, progress, ...options }: UpOptions): Promise<Lab> {
    const { nodes: count, swarmMode = false, kernel = 'host', balancer, allow, engine } = options;
    const { package: file } = options;
    const engineOnly = swarmMode || (options.engineOnly ?? false);
    if (!Number.isInteger(count) || count < 1 || count > nodesMax)
      throw new SkepError('invalidArgument', `a lab has 1 to ${nodesMax} nodes, not ${count}`, {
        advice: {
          means: 'The network of a lab has addresses for no more. Nothing was started.',
          todo: 'Ask for fewer nodes, or make two labs with names of their own (--name).',
        },
      });
    const machine = kernels[kernel];
    const paths = labPaths(name);
    requireParts(engineOnly, machine, engine, file);
    mkdirSync(labsDir, { recursive: true });
    try {
      mkdirSync(paths.run);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      throw new SkepError('alreadyExists', `there is a lab called ${name}`, {
        advice: {
          means: 'Two labs cannot have one name. The one that is there was left as it is.',
          todo: `"skep lab down --name ${name}" ends it; or give the new one another name (--name).`,
        },
      });
    }
    await using undo = new CleanupStack();
    undo.defer(() => Lab.down(name));
    const state = {
      ...{ nodes: count, engineOnly, swarmMode, kernel },
      ...(balancer === undefined ? {} : { balancer }),
      ...(allow === undefined ? {} : { allow }),
      ...(engine === undefined ? {} : { engine }),
      ...(file === undefined ? {} : { package: file }),
    };
    writeState(paths, state);
    const lab = new Lab(name, state);
    mkdirSync(paths.disks, { recursive: true });
    progress('making images, network and disks');
    const [archives] = await Promise.all([
      ensureImages(),
      createSwitch(
        paths,
        lab.nodes.flatMap((node) => machine.portLines(node)),
      ),
      ...lab.nodes.map((node) => createDisk(node)),
    ]);
    progress(`starting ${machines(count)}`);
    const script = importScript(archives);
    await Promise.all(
      lab.nodes.map(async (node) => {
        await lab.#boot(node);
        await lab.#awaitDaemon(node, 'dockerd', engineSocket, engineDeadlineMs);
        progress(`${node.name}: engine answers`);
        const imported = await lab.exec(node.name, ['sh', '-c', script], { deadlineMs: engineDeadlineMs });
        if (imported.exitCode !== 0)
          throw new OutsideError(`${node.name}: cannot load images: ${imported.stderr.trim()}`, false, {
            advice: {
              means:
                "The node's engine took not all of the images that a lab works with, so the lab was taken down again.",
              todo: 'If its disk or memory is full, make room; else remove /var/cache/skep-lab/image-*.tar, which are made anew, and try again.',
            },
          });
        progress(`${node.name}: images loaded`);
        if (!engineOnly) await lab.#awaitDaemon(node, 'skepd', apiSocket, apiDeadlineMs);
        progress(`${node.name}: ready`);
      }),
    );
    writeFileSync(paths.complete, '');
    undo.move();
    return lab;
  }

  /** Ends the lab of this name, complete or not: processes, namespaces, disks, files. Returns whether there was one. */
  static async down(name: string, progress: (line: string) => void = () => undefined): Promise<boolean> {
    const paths = labPaths(name);
    const existed = existsSync(paths.run) || existsSync(paths.disks);
    const state = readState(paths);
    if (state) {
      const lab = new Lab(name, state);
      progress(`ending ${machines(state.nodes)}`);
      await Promise.all(lab.nodes.map((node) => lab.#machine.kill(paths, node)));
    }
    if (existed) progress('removing what is left: processes, network, disks');
    await killInNamespaces(paths);
    await removeGroups(paths.group);
    await removeSwitch(paths);
    for (const dir of [paths.disks, paths.run]) rmSync(dir, { recursive: true, force: true });
    for (const parent of [labsDir, '/var/lib/skep-lab'])
      if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent);
    removeEmptyGroup(dirname(paths.group));
    return existed;
  }

  /** The labs there are on this machine, complete or not. */
  static list(): LabSummary[] {
    return labNames().map((name) => {
      const paths = labPaths(name);
      const state = readState(paths);
      if (!state) return { name, nodes: 0, running: 0, complete: false };
      const nodes = new Lab(name, state).status();
      const running = nodes.filter((node) => node.state === 'running').length;
      return {
        name,
        nodes: nodes.length,
        running,
        kernel: state.kernel,
        complete: existsSync(paths.complete),
      };
    });
  }

  /** The node of this name; refused with notFound if the lab has none such. */
  node(name: string): NodeLayout {
    const found = this.nodes.find((node) => node.name === name);
    if (!found)
      throw new SkepError('notFound', `no such node: ${name}`, {
        advice: {
          means: `The lab ${this.name} has ${this.nodes.map((node) => node.name).join(', ')}.`,
          todo: 'Name one of these, or another lab (--name).',
        },
      });
    return found;
  }

  status(): NodeStatus[] {
    return this.nodes.map((node) => {
      const pid = machinePid(node);
      const { name, address } = node;
      return pid === undefined ? { name, address, state: 'off' } : { name, address, state: 'running', pid };
    });
  }

  /** Runs a command in the node with these streams; returns its own exit code. */
  async stream(
    name: string,
    argv: readonly string[],
    streams: CommandStreams,
    signal?: AbortSignal,
  ): Promise<number> {
    const node = this.node(name);
    if (machinePid(node) === undefined)
      throw new SkepError('unavailable', `${name} is off`, {
        advice: {
          means: 'Its power was cut, or it has stopped by itself, so that nothing runs in it.',
          todo: `"skep lab start ${name}${this.#option}" starts it; "skep lab logs ${name}${this.#option}" says what it said last.`,
        },
      });
    const reply = await callAgent(node.agentSocket, { kind: 'exec', argv }, streams, signal);
    if ('error' in reply)
      throw new OutsideError(`${name}: ${reply.error}`, false, {
        advice: {
          means: 'The agent in the node could not run the command, so nothing of it ran.',
          todo: `See what the node says: "skep lab logs ${name}${this.#option}".`,
        },
      });
    return reply.exitCode;
  }

  /**
   * Runs a command in the node to its end and returns what it wrote; ends it and throws when the deadline passes, which is
   * later on slow machines.
   */
  async exec(
    name: string,
    argv: readonly string[],
    options: HostCommandOptions = {},
  ): Promise<CommandResult> {
    const stdout = new Collector();
    const stderr = new Collector();
    const stdin = new PassThrough();
    stdin.end(options.input ?? '');
    const deadlineMs = (options.deadlineMs ?? 60_000) * this.#machine.slowness;
    const signal = AbortSignal.timeout(deadlineMs);
    const exitCode = await this.stream(name, argv, { stdin, stdout, stderr }, signal).catch(
      (cause: unknown) => {
        if (!signal.aborted) throw cause;
        throw new OutsideError(`${name}: ${argv.join(' ')}: not done after ${deadlineMs} ms`, true, {
          advice: {
            means: 'The command in the node took longer than it may, and was ended.',
            todo: `See what the node does: "skep lab logs ${name}${this.#option}". On a busy machine, ask for fewer nodes.`,
          },
        });
      },
    );
    return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
  }

  /** `argv` as run on this machine to be the machine outside the cluster. */
  clientCommand(argv: readonly string[]): string[] {
    return inNamespace(this.paths.clientNamespace, argv);
  }

  /** Runs a command on the machine outside the cluster. */
  client(argv: readonly string[], options: HostCommandOptions = {}): Promise<CommandResult> {
    return tryHostCommand(this.clientCommand(argv), options);
  }

  /** Cuts the node's power: nothing in it gets to say a word. */
  async kill(name: string): Promise<void> {
    await this.#machine.kill(this.paths, this.node(name));
  }

  /** Starts a node that is off and waits until its daemons answer. Its disk is as the power cut left it. */
  async start(name: string): Promise<void> {
    const node = this.node(name);
    if (machinePid(node) !== undefined)
      throw new SkepError('failedPrecondition', `${name} is running`, {
        advice: {
          means: 'Only a node that is off can be started. Nothing was done.',
          todo: `To start it anew, "skep lab kill ${name}${this.#option}" first.`,
        },
      });
    await this.#machine.kill(this.paths, node); // clears what a machine that stopped by itself has left
    await this.#boot(node);
    await this.#awaitDaemon(node, 'dockerd', engineSocket, engineDeadlineMs);
    if (!this.state.engineOnly) await this.#awaitDaemon(node, 'skepd', apiSocket, apiDeadlineMs);
  }

  /** Drops all frames between two nodes, or a node and `client`, both ways. */
  async cut(one: string, other: string): Promise<void> {
    const port = (name: string): string => (name === 'client' ? 'client' : this.node(name).port);
    if (one === other)
      throw new SkepError('invalidArgument', 'a cut is between two different machines', {
        advice: {
          means: `${one} was named twice, and a machine has no wire to itself. Nothing was cut.`,
          todo: 'Name two nodes, or a node and "client".',
        },
      });
    await cutPorts(this.paths, port(one), port(other));
  }

  /** Removes every cut. */
  async heal(): Promise<void> {
    await healPorts(this.paths);
  }

  /** Pairs of nodes, or of a node and `client`, as `A B`. */
  cuts(): Promise<string[]> {
    return observeCuts(this.paths);
  }

  /** The node's logs, one file a daemon and the console, as paths on this machine; brought up to date first. */
  async logFiles(name: string): Promise<string[]> {
    const node = this.node(name);
    // What the node has not written back yet is still in its own memory.
    if (machinePid(node) !== undefined)
      await this.exec(name, ['sync', '-f', '/run/lab/log'], { deadlineMs: 10_000 }).catch(() => undefined);
    return logFilesOf(node);
  }

  /** What commands in advice need to mean this lab. */
  get #option(): string {
    return nameOption(this.name);
  }

  async #boot(node: NodeLayout): Promise<void> {
    const { paths, state } = this;
    const { swarmMode, balancer, allow, engine, package: file } = state;
    await this.#machine.start({
      ...{ paths, node, checkout, swarmMode, balancer, allow, engine, package: file },
    });
  }

  async #awaitDaemon(node: NodeLayout, daemon: string, socket: string, deadlineMs: number): Promise<void> {
    try {
      const scaledMs = deadlineMs * this.#machine.slowness;
      await awaitPing(node.agentSocket, socket, scaledMs, () => machinePid(node) !== undefined);
    } catch (cause) {
      const files = logFilesOf(node).filter(
        (path) => path.endsWith(`/${daemon}.log`) || path.endsWith('/console.log'),
      );
      const tails = await Promise.all(
        files.map((path) => hostCommand(['tail', '-n', String(logLinesShown), path])),
      );
      const words = files.map((path, at) => `--- ${path}\n${tails[at] ?? ''}`).join('');
      throw new OutsideError(
        `${node.name}: ${daemon} does not answer: ${(cause as Error).message}\n${words}`,
        false,
        {
          cause,
          advice: {
            means: `${daemon} did not start in the node, or too slowly. A lab that was being made was taken down again.`,
            todo: 'The last lines of its log are above. On a busy machine ask for fewer nodes; after a change of the code, build it (npm run build).',
          },
        },
      );
    }
  }
}

const machines = (count: number): string => `${count} ${count === 1 ? 'machine' : 'machines'}`;

/** ` --name NAME`, where commands need it to mean this lab. */
export const nameOption = (name: string): string => (name === defaultLab ? '' : ` --name ${name}`);

const logFilesOf = ({ logs }: NodeLayout): string[] =>
  existsSync(logs)
    ? readdirSync(logs)
        .sort()
        .map((file) => `${logs}/${file}`)
    : [];

/** The checkout is mounted in nodes wherever it is. */
const isSeenByNodes = (path: string): boolean =>
  path.startsWith(`${checkout}/`) || /^\/(?!(tmp|run)\/)/.test(path);

/** What must be on this machine; the set-up script installs all of it, but for the package. */
function requireParts(
  engineOnly: boolean,
  machine: MachineKind,
  engine: string | undefined,
  file: string | undefined,
): void {
  for (const [path, what] of [
    [engine, 'run an engine'],
    [file, 'install a package'],
  ] as const)
    if (path !== undefined && !isSeenByNodes(path))
      throw new SkepError(
        'invalidArgument',
        `${path}: nodes see the machine’s directories but /tmp and /run, by their absolute paths`,
        {
          advice: {
            means: `The nodes could not ${what} from there. Nothing was started.`,
            todo: 'Put it somewhere else, and give its absolute path.',
          },
        },
      );
  if (file !== undefined && !existsSync(file))
    throw new SkepError('invalidArgument', `there is no package ${file}`, {
      advice: {
        means: 'The nodes have nothing to install the daemons from. Nothing was started.',
        todo: 'Check the path; "npm run package" builds dist-package/skep_VERSION_amd64.deb.',
      },
    });
  const missing = [
    ...machine.parts,
    engine === undefined ? '/usr/sbin/dockerd' : `${engine}/dockerd`,
    '/usr/bin/containerd',
    '/usr/sbin/ebtables',
    `${checkout}/dist/lab/guest-agent.js`,
    ...(engineOnly || file !== undefined ? [] : [`${checkout}/bin/skepd`, `${checkout}/bin/skep-dataplane`]),
  ].filter((path) => !existsSync(path));
  if (process.getuid?.() !== 0)
    throw new SkepError('permissionDenied', 'a lab needs root', {
      advice: {
        means: 'It makes namespaces, disks and networks, which root alone may. Nothing was started.',
        todo: 'Run it as root, with sudo for instance.',
      },
    });
  if (missing.length > 0)
    throw new SkepError('failedPrecondition', `a lab needs ${missing.join(', ')}`, {
      advice: {
        means: 'These are not on this machine, and nodes are built of them. Nothing was started.',
        todo: `Run ${checkout}/scripts/setup.sh, which installs and builds what is missing.`,
      },
    });
}

/** A writable that keeps what is written. */
class Collector extends PassThrough {
  readonly #chunks: Buffer[] = [];

  constructor() {
    super();
    this.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}
