/**
 * Sessions: what a page shows of a terminal, as steps that can be typed. A fenced block says where it is typed:
 *
 *     ```console MACHINE [eventually] [fails] [off=NODE,…] [runner=RUNNER]
 *     $ a command, and
 *     > what it goes on with
 *     what it prints
 *     ```
 *
 * and a file that a session needs is a block of its own, `yaml node1 file=NAME`, written where sessions of that machine begin.
 */
import type { Fence, Page } from './page.js';

/** `client`: outside the cluster. `host`: the machine that has the checkout and may have a lab. */
export const machines = ['node1', 'node2', 'node3', 'client', 'host'] as const;
export type Machine = (typeof machines)[number];

/** Who types a session, and where that is proven. */
export interface Runner {
  readonly what: string;
  /** The file that runs sessions of this runner, from the checkout. */
  readonly file: string;
}

/** Every runner there is. */
export const runners = {
  lab: {
    what: 'a lab of three nodes, and the machine that it is on',
    file: 'test/lab/documentation.test.ts',
  },
  package: {
    what: 'a root with systemd, on which the package is installed, upgraded and removed',
    file: 'test/engine/package.test.ts',
  },
  checked: {
    what: 'nobody: each takes the machine it is typed on for itself. Every command, script and option in it is looked up',
    file: 'test/unit/documentation/commands.test.ts',
  },
} as const satisfies Readonly<Record<string, Runner>>;
export type RunnerName = keyof typeof runners;

export interface Step {
  /** As typed, without prompts; several lines where it goes on. */
  readonly command: string;
  readonly expected: readonly string[];
}

interface Place {
  /** `PAGE:LINE`, of the opening fence. */
  readonly where: string;
  readonly machine: Machine;
}

export interface Session extends Place {
  readonly kind: 'session';
  readonly runner: RunnerName;
  readonly steps: readonly Step[];
  /** What it shows comes after a while: each command is typed again until then. */
  readonly eventually: boolean;
  /** Its commands are refused. */
  readonly fails: boolean;
  /** Nodes without power meanwhile; all others have it. */
  readonly off: readonly string[];
}

/** A file that sessions of the machine find where they begin. */
export interface FileBlock extends Place {
  readonly kind: 'file';
  readonly name: string;
  readonly content: string;
}

/** What of a page is typed and written, in its order. @throws Error for a block that says nothing */
export const sessionsOf = (page: Page): (Session | FileBlock)[] =>
  page.fences.flatMap((fence): (Session | FileBlock)[] => {
    const where = `${page.path}:${fence.line}`;
    if (fence.info[0] === 'console') return [parseSession(where, fence)];
    return fence.info.some((word) => word.startsWith('file=')) ? [parseFile(where, fence)] : [];
  });

function parseSession(where: string, { info, lines }: Fence): Session {
  const [, machine = '', ...words] = info;
  if (!isMachine(machine)) throw new Error(`${where}: typed where? Expected one of ${machines.join(', ')}`);
  let [eventually, fails, off, runner] = [false, false, [] as string[], 'lab' as RunnerName];
  for (const word of words) {
    const [name = '', value = ''] = word.split('=');
    if (word === 'eventually') eventually = true;
    else if (word === 'fails') fails = true;
    else if (name === 'off' && value !== '') off = value.split(',');
    else if (name === 'runner' && Object.hasOwn(runners, value)) runner = value as RunnerName;
    else throw new Error(`${where}: "${word}" means nothing`);
  }
  for (const node of off)
    if (!/^node[1-3]$/.test(node) || node === machine) throw new Error(`${where}: "${node}" cannot be off`);
  return { kind: 'session', where, machine, runner, steps: parseSteps(where, lines), eventually, fails, off };
}

function parseSteps(where: string, lines: readonly string[]): Step[] {
  const steps: { command: string; expected: string[] }[] = [];
  for (const line of lines) {
    const last = steps.at(-1);
    if (line.startsWith('$ ')) steps.push({ command: line.slice(2), expected: [] });
    else if (last === undefined) throw new Error(`${where}: begins with no command: ${line}`);
    else if (line.startsWith('> ') && last.expected.length === 0) last.command += `\n${line.slice(2)}`;
    else last.expected.push(line);
  }
  if (steps.length === 0) throw new Error(`${where}: no command`);
  return steps;
}

function parseFile(where: string, { info, lines }: Fence): FileBlock {
  const [, machine = '', file = '', ...more] = info;
  const name = /^file=([\w.-]+)$/.exec(file)?.[1];
  if (!isMachine(machine) || name === undefined || more.length > 0)
    throw new Error(`${where}: expected LANGUAGE MACHINE file=NAME`);
  return { kind: 'file', where, machine, name, content: `${lines.join('\n')}\n` };
}

const isMachine = (text: string): text is Machine => (machines as readonly string[]).includes(text);
