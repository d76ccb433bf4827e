/**
 * A swarm of three managers on the same three machines and engines, by whom it is managed: Skep, or the engine's own Swarm mode.
 * Everything is done and seen with the stock docker CLI on one of the nodes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Lab } from '../../src/lab/lab.js';
import type { CommandResult } from '../../src/lab/host-command.js';
import { initSwarm } from '../../src/lab/swarm.js';

export type ContenderName = 'skep' | 'swarm';

interface Management {
  /** What the CLI is to talk to. */
  readonly dockerHost: string;
  readonly engineOnly: boolean;
  /** Kills the daemon that manages, and that alone; what supervises it starts it again after a second. */
  readonly killDaemon: string;
}

const managements: Readonly<Record<ContenderName, Management>> = {
  skep: {
    dockerHost: 'unix:///run/skep/docker.sock',
    engineOnly: false,
    killDaemon: 'kill -9 $(cat /run/lab/pid/skepd)',
  },
  swarm: {
    dockerHost: 'unix:///run/docker.sock',
    engineOnly: true,
    killDaemon: 'kill -9 $(cat /run/lab/pid/dockerd)',
  },
};

const managers = 3;
const pollMs = 100;
const commandDeadlineMs = 60_000;
const wellDeadlineMs = 120_000;

export class Contender implements AsyncDisposable {
  readonly #management: Management;

  private constructor(
    readonly name: ContenderName,
    private readonly lab: Lab,
  ) {
    this.#management = managements[name];
  }

  /** Up, with three managers that are well and one service that runs. */
  static async create(name: ContenderName): Promise<Contender> {
    const labName = `bench-leader-${name}`;
    await Lab.down(labName);
    const { engineOnly, dockerHost } = managements[name];
    const lab = await Lab.up({ name: labName, nodes: managers, engineOnly, progress: () => undefined });
    const contender = new Contender(name, lab);
    try {
      if (name === 'swarm') await contender.#allowSwarmMode();
      await initSwarm(lab, managers, () => undefined, dockerHost);
      await contender.awaitWell();
      await contender.must(
        'node1',
        'service create -d --name web --replicas 3 --no-resolve-image skep/whoami:lab',
      );
    } catch (err) {
      await contender[Symbol.asyncDispose]();
      throw err;
    }
    return contender;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Lab.down(this.lab.name);
  }

  get nodes(): readonly string[] {
    return this.lab.nodes.map(({ name }) => name);
  }

  /** One command of the docker CLI, words split at spaces. */
  docker(node: string, words: string): Promise<CommandResult> {
    const argv = ['docker', '-H', this.#management.dockerHost, ...words.split(' ')];
    return this.lab.exec(node, argv, { deadlineMs: commandDeadlineMs });
  }

  /** As `docker`; what it printed, and a failure is an error. */
  async must(node: string, words: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.docker(node, words);
    if (exitCode !== 0) throw new Error(`${this.name}, ${node}: docker ${words}: ${stderr.trim()}`);
    return stdout.trimEnd();
  }

  /** Asks until `check` holds, for at most `deadlineMs`; a command that fails is asked again. */
  async until(
    node: string,
    words: string,
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
      `${this.name}, ${node}: docker ${words}: not as expected after ${deadlineMs} ms: ${last.trim()}`,
    );
  }

  /** Each node's view: all managers are well, and all agree on who leads. @returns the leader's name */
  async awaitWell(): Promise<string> {
    const words = 'node ls --format {{.Hostname}}={{.ManagerStatus}}={{.Status}}';
    const leaders = new Set<string>();
    for (const node of this.nodes)
      await this.until(
        node,
        words,
        (output) => {
          const rows = output.split('\n').map((row) => row.split('='));
          const leader = rows.find(([, role]) => role === 'Leader')?.[0];
          const isWell =
            rows.length === managers &&
            rows.every(
              ([, role, status]) => (role === 'Leader' || role === 'Reachable') && status === 'Ready',
            );
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

  /** The engines of a lab keep containers over their own restarts, which Swarm mode refuses to work with. */
  async #allowSwarmMode(): Promise<void> {
    const change = 'sed -i s/\\"live-restore\\":.true/\\"live-restore\\":false/ /run/lab/disk/daemon.json';
    await Promise.all(
      this.nodes.map(async (node) => {
        await this.lab.exec(node, ['sh', '-c', `${change}; kill $(cat /run/lab/pid/dockerd)`]);
        await this.until(
          node,
          'info -f {{.LiveRestoreEnabled}}',
          (output) => output === 'false',
          wellDeadlineMs,
        );
      }),
    );
  }
}
