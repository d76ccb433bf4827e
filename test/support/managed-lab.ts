/**
 * A lab by who manages it: Skep, or the engines' own Swarm mode, on the same machines and engines. Everything is done and seen with
 * the stock docker CLI on one of the nodes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ensureImage, importScript } from '../../src/lab/images.js';
import type { ImageSource } from '../../src/lab/images.js';
import { Lab } from '../../src/lab/lab.js';
import type { UpOptions } from '../../src/lab/lab.js';
import type { CommandResult } from '../../src/lab/host-command.js';
import { initSwarm } from '../../src/lab/swarm.js';
import { MixedLoad } from './mixed-load.js';
import type { MixedRates } from './mixed-load.js';

export type ManagedBy = 'skep' | 'swarm';

interface Management {
  /** What the CLI is to talk to. */
  readonly dockerHost: string;
  readonly daemon: string;
  /** Kills the daemon that manages, and that alone; what supervises it starts it again after a second. */
  readonly killDaemon: string;
}

const managements: Readonly<Record<ManagedBy, Management>> = {
  skep: {
    dockerHost: 'unix:///run/skep/docker.sock',
    daemon: 'skepd',
    killDaemon: 'kill -9 $(cat /run/lab/pid/skepd)',
  },
  swarm: {
    dockerHost: 'unix:///run/docker.sock',
    daemon: 'dockerd',
    killDaemon: 'kill -9 $(cat /run/lab/pid/dockerd)',
  },
};

const engineSocket = 'unix:///run/docker.sock';
const clockLooks = 5;
const pollMs = 100;
const commandDeadlineMs = 60_000;
const wellDeadlineMs = 120_000;

const text = (words: string | readonly string[]): string =>
  typeof words === 'string' ? words : words.join(' ');

export class ManagedLab implements AsyncDisposable {
  readonly #management: Management;
  #managers = 0;

  private constructor(
    readonly by: ManagedBy,
    private readonly lab: Lab,
  ) {
    this.#management = managements[by];
  }

  /** Up; no node is in a swarm yet. @param below what the nodes run on, if not this machine's own kernel and engine, and what balances on Skep's */
  static async create(
    by: ManagedBy,
    name: string,
    nodes = 3,
    below: Pick<UpOptions, 'kernel' | 'engine' | 'balancer'> = {},
  ): Promise<ManagedLab> {
    await Lab.down(name);
    const swarmMode = by === 'swarm';
    return new ManagedLab(by, await Lab.up({ name, nodes, swarmMode, ...below, progress: () => undefined }));
  }

  /** A swarm of all nodes, each a manager, all well. */
  async initManagers(): Promise<void> {
    await this.init(this.nodes.length);
    await this.awaitWell();
  }

  /** A swarm of all nodes, the first `managers` of them managers. */
  async init(managers: number): Promise<void> {
    this.#managers = managers;
    await initSwarm(this.lab, managers, () => undefined, this.#management.dockerHost);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Lab.down(this.lab.name);
  }

  /** Who manages, and by which balancer engine if that was said. */
  get title(): string {
    const { balancer } = this.lab.state;
    return balancer === undefined ? this.by : `${this.by}, ${balancer}`;
  }

  get nodes(): readonly string[] {
    return this.lab.nodes.map(({ name }) => name);
  }

  /** Those of the nodes that are managers, once there is a swarm. */
  get managers(): readonly string[] {
    return this.nodes.slice(0, this.#managers);
  }

  addressOf(node: string): string {
    return this.lab.node(node).address;
  }

  /** Loads an image into every node's engine. */
  async loadImage(source: ImageSource): Promise<void> {
    const script = importScript([await ensureImage(source)]);
    await Promise.all(this.nodes.map((node) => this.run(node, ['sh', '-c', script])));
  }

  /** As {@link MixedLoad}, through every one of these nodes. */
  mixedLoad(
    rates: MixedRates,
    name: string,
    port: number,
    nodes = this.nodes,
    silenceMs?: number,
  ): MixedLoad {
    const urls = nodes.map((node) => `http://${this.addressOf(node)}:${port}/`);
    return new MixedLoad(this.lab, rates, { [name]: urls }, silenceMs);
  }

  /** The socket that the node's API listens on, as seen in the node. */
  get socket(): string {
    return this.#management.dockerHost.replace('unix://', '');
  }

  /** The socket that the node's API listens on, as seen from this machine; follows the daemon through its restarts. */
  socketOf(node: string): string {
    const pid = this.lab.status().find(({ name }) => name === node)?.pid;
    if (pid === undefined) throw new Error(`${node} is off`);
    return `/proc/${pid}/root${this.socket}`;
  }

  /** One command of the docker CLI, words split at spaces; those that hold spaces are given as a list. */
  docker(node: string, words: string | readonly string[]): Promise<CommandResult> {
    const list = typeof words === 'string' ? words.split(' ') : words;
    const argv = ['docker', '-H', this.#management.dockerHost, ...list];
    return this.lab.exec(node, argv, { deadlineMs: commandDeadlineMs });
  }

  /** One command of the docker CLI to the node's own engine, whoever manages; what it printed, and a failure is an error. */
  engine(node: string, words: readonly string[]): Promise<string> {
    return this.run(node, ['docker', '-H', engineSocket, ...words]);
  }

  /** `argv` as run on this machine to be the machine outside the cluster. */
  clientCommand(argv: readonly string[]): string[] {
    return this.lab.clientCommand(argv);
  }

  /** A command on the machine outside the cluster; what it printed, and a failure is an error. */
  async client(argv: readonly string[], deadlineMs = commandDeadlineMs): Promise<string> {
    const { exitCode, stdout, stderr } = await this.lab.client(argv, { deadlineMs });
    if (exitCode !== 0) throw new Error(`${this.title}, client: ${argv.join(' ')}: ${stderr.trim()}`);
    return stdout.trimEnd();
  }

  /** By how many milliseconds the node's clock is ahead of this machine's, as told by the quickest of some looks. */
  async clockAheadMs(node: string): Promise<number> {
    let [best, ahead] = [Infinity, 0];
    for (let look = 0; look < clockLooks; look += 1) {
      const askedMs = Date.now();
      const thereMs = Number(await this.sh(node, 'date +%s%N')) / 1e6;
      const tookMs = Date.now() - askedMs;
      if (tookMs < best) [best, ahead] = [tookMs, thereMs - (askedMs + tookMs / 2)];
    }
    return ahead;
  }

  /** One request to the API that the CLI talks to. @returns the answer's body, and behind it its status */
  async ask(node: string, method: string, path: string, body?: object): Promise<string> {
    const sent = body === undefined ? [] : ['-H', 'Content-Type: application/json', '-d', '@-'];
    const { stdout } = await this.lab.exec(
      node,
      [
        ...['curl', '-s', '-X', method, '-w', ' %{http_code}', '--unix-socket', this.socket],
        ...sent,
        `http://d${path}`,
      ],
      { deadlineMs: commandDeadlineMs, ...(body && { input: JSON.stringify(body) }) },
    );
    return stdout;
  }

  /** As `docker`; what it printed, and a failure is an error. */
  async must(node: string, words: string | readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.docker(node, words);
    if (exitCode !== 0) throw new Error(`${this.title}, ${node}: docker ${text(words)}: ${stderr.trim()}`);
    return stdout.trimEnd();
  }

  /** A command in the node; what it printed, and a failure is an error. */
  async run(node: string, argv: readonly string[], deadlineMs = commandDeadlineMs): Promise<string> {
    const { exitCode, stdout, stderr } = await this.lab.exec(node, argv, { deadlineMs });
    if (exitCode !== 0) throw new Error(`${this.title}, ${node}: ${argv.join(' ')}: ${stderr.trim()}`);
    return stdout.trimEnd();
  }

  /** A script in the node's shell, where `docker` asks whoever manages. @returns what it printed; a failure is an error */
  async sh(node: string, script: string, deadlineMs = commandDeadlineMs): Promise<string> {
    return this.run(
      node,
      ['env', `DOCKER_HOST=${this.#management.dockerHost}`, 'sh', '-c', script],
      deadlineMs,
    );
  }

  /** Resident memory of the daemon that manages, in MiB: now, or the most that it ever was. */
  async memoryMiB(node: string, which: 'VmRSS' | 'VmHWM'): Promise<number> {
    const found = await this.sh(
      node,
      `awk '/^${which}/ { print $2 }' /proc/$(cat /run/lab/pid/${this.#management.daemon})/status`,
    );
    return Number(found) / 1024;
  }

  /** Asks until `check` holds, for at most `deadlineMs`; a command that fails is asked again. */
  async until(
    node: string,
    words: string | readonly string[],
    check: (output: string) => boolean,
    deadlineMs: number,
  ): Promise<void> {
    const end = performance.now() + deadlineMs;
    let last = '';
    while (performance.now() < end) {
      const { exitCode, stdout, stderr } = await this.docker(node, words);
      if (exitCode === 0 && check(stdout.trimEnd())) return;
      last = exitCode === 0 ? stdout : stderr;
      await delay(pollMs);
    }
    throw new Error(
      `${this.title}, ${node}: docker ${text(words)}: not as expected after ${deadlineMs} ms: ${last.trim()}`,
    );
  }

  /** Each manager's view: all nodes are ready, managers well, and all agree on who leads. @returns the leader's name */
  async awaitWell(): Promise<string> {
    const words = 'node ls --format {{.Hostname}}={{.ManagerStatus}}={{.Status}}';
    const leaders = new Set<string>();
    for (const node of this.managers)
      await this.until(
        node,
        words,
        (output) => {
          const rows = output.split('\n').map((row) => row.split('='));
          const roles = rows.map(([, role]) => role).filter((role) => role !== '');
          const leader = rows.find(([, role]) => role === 'Leader')?.[0];
          const isWell =
            rows.length === this.nodes.length &&
            rows.every(([, , status]) => status === 'Ready') &&
            roles.length === this.managers.length &&
            roles.every((role) => role === 'Leader' || role === 'Reachable');
          if (isWell && leader !== undefined) leaders.add(leader);
          return isWell && leader !== undefined;
        },
        wellDeadlineMs,
      );
    const [leader, ...others] = leaders;
    return leader === undefined || others.length > 0 ? this.awaitWell() : leader;
  }

  /** The machine dies: nothing in it gets to say a word. */
  cutPower(node: string): Promise<void> {
    return this.lab.kill(node);
  }

  restorePower(node: string): Promise<void> {
    return this.lab.start(node);
  }

  async killDaemon(node: string): Promise<void> {
    await this.lab.exec(node, ['sh', '-c', this.#management.killDaemon]);
  }
}
