/** Throwaway network namespaces for tests: `await using netns = TestNetns.create()`, gone when the scope ends. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { native } from '../../src/runtime/native.js';

const run = promisify(execFile);

export class TestNetns implements AsyncDisposable {
  readonly path: string;

  private constructor(readonly name: string) {
    this.path = `/run/netns/${name}`;
  }

  /** A new, empty namespace with its lo down. Needs root. */
  static create(): TestNetns {
    const netns = new TestNetns(`skeptest-${process.pid}-${randomBytes(4).toString('hex')}`);
    native().createNetns(netns.path);
    return netns;
  }

  /** Runs a command inside, without a shell; gives its standard output, throws when it fails or takes 20 s. */
  async run(command: string, ...args: string[]): Promise<string> {
    const { stdout } = await run('nsenter', [`--net=${this.path}`, command, ...args], { timeout: 20_000 });
    return stdout;
  }

  /** Runs a line of `ip` arguments, e.g. `ip('link set lo up')`. */
  ip(line: string): Promise<string> {
    return this.run('ip', ...line.split(' '));
  }

  /** What `ip -j -d` prints, parsed; Row describes the fields the test reads. */
  async ipJson<Row>(line: string): Promise<Row[]> {
    return parseRows<Row>(await this.run('ip', '-j', '-d', ...line.split(' ')));
  }

  async bridgeJson<Row>(line: string): Promise<Row[]> {
    return parseRows<Row>(await this.run('bridge', '-j', '-d', ...line.split(' ')));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    native().deleteNetns(this.path);
  }
}

/** iproute2 prints nothing at all, or empty objects, where there is nothing. */
function parseRows<Row>(text: string): Row[] {
  const rows = (text.trim() === '' ? [] : JSON.parse(text)) as Row[];
  return rows.filter((row) => Object.keys(row as object).length > 0);
}
