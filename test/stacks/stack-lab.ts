/** The lab of the stacks as their users have it: one manager to type at, its nodes' engines and published ports to look at. */
import { expect } from 'vitest';
import type { TestLab } from '../support/lab.js';
import { eventually } from '../support/lab.js';

export const manager = 'node1';
export const nodes = ['node1', 'node2', 'node3'];
export const soonMs = 120_000;
/** Where the manager has the files, to edit them. */
export const home = '/root/stacks';

export const lines = (text: string): string[] => (text === '' ? [] : text.split('\n'));
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export class StackLab {
  constructor(readonly cluster: TestLab) {}

  /** Runs a command line on the manager, beside the files. */
  readonly sh = (line: string): Promise<string> =>
    this.cluster.run(manager, ['sh', '-c', `cd ${home} 2>/dev/null; ${line}`], soonMs);

  /** By service: its tasks that are to run, by id. */
  async tasks(): Promise<Record<string, string[]>> {
    const words = "--no-trunc --filter desired-state=running --format '{{.Name}} {{.ID}}'";
    const rows = lines(await this.sh(`docker service ps $(docker service ls -q) ${words}`)).sort();
    const found: Record<string, string[]> = {};
    for (const row of rows) {
      const [name = '', id = ''] = row.split(' ');
      (found[name.replace(/\..*/, '')] ??= []).push(id);
    }
    return found;
  }

  /** Runs a command in each container of the service. @returns `NODE: OUTPUT` */
  async inContainers(service: string, line: string): Promise<string[]> {
    const outputs = await Promise.all(
      nodes.map(async (node) => {
        const docker = 'docker -H unix:///run/docker.sock';
        const each = `${docker} ps -q --filter label=com.docker.swarm.service.name=${service}`;
        const script = `for id in $(${each}); do ${docker} exec $id sh -c ${quoted(line)}; done`;
        return lines(await this.cluster.run(node, ['sh', '-c', script])).map(
          (output) => `${node}: ${output}`,
        );
      }),
    );
    return outputs.flat();
  }

  /** A request from outside to a node. */
  async get(node: string, port: number, path = '/'): Promise<string> {
    const url = `http://192.168.60.${node.slice('node'.length)}:${port}${path}`;
    const { exitCode, stdout, stderr } = await this.cluster.lab.client(['curl', '-sSf', '-m', '5', url]);
    expect({ url, exitCode, stderr }).toEqual({ url, exitCode: 0, stderr: '' });
    return stdout;
  }

  /** What `docker stack services` comes to say, by the services' names within the stack. */
  expectServices(stack: string, services: Readonly<Record<string, string>>): Promise<unknown> {
    const words = "--format '{{.Name}}: {{.Mode}} {{.Replicas}}'";
    return eventually(`services of ${stack}`, soonMs, () => this.sh(`docker stack services ${stack} ${words}`), (said) =>
      expect(said.split('\n').sort()).toEqual(
        Object.entries(services).map(([name, count]) => `${stack}_${name}: ${count}`).sort(),
      ),
    ); // prettier-ignore
  }
}
