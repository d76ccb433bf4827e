/**
 * Types sessions: each step in a shell that has what the steps before it have set (variables, functions, the working directory), its
 * output against the page. Where the machines come from is the caller's: a lab, a root with a package on it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { fillIn, matchOutput } from './pattern.js';
import type { Bound } from './pattern.js';
import type { FileBlock, Machine, Session, Step } from './session.js';

/** Runs a script in bash. @returns its exit code, and all that it printed on either stream, in that order */
export interface Shell {
  readonly run: (script: string, deadlineMs: number) => Promise<{ exitCode: number; output: string }>;
  /** Where sessions begin and files are written. */
  readonly home: string;
  /** Keeps what a step has set for the next one; gone with the machine's power. */
  readonly memory: string;
}

export interface Machines {
  readonly shell: (machine: Machine) => Shell;
  /** Takes the power from these nodes, and gives it to all others. */
  readonly power: (off: readonly string[]) => Promise<void>;
}

const commandDeadlineMs = 120_000;
const soonMs = 60_000;
const againMs = 500;

export class Typist {
  #bound: Bound = new Map();

  constructor(private readonly machines: Machines) {}

  /** Throws with the page's place, what was typed and what came of it. */
  async play(block: Session | FileBlock): Promise<void> {
    const shell = this.machines.shell(block.machine);
    if (block.kind === 'file') {
      const script = `mkdir -p ${shell.home} && cat >${shell.home}/${block.name} <<'END OF FILE'\n${block.content}END OF FILE`;
      const { exitCode, output } = await shell.run(script, commandDeadlineMs);
      if (exitCode !== 0) throw new Error(`${block.where}: cannot write ${block.name}: ${output}`);
      return;
    }
    await this.machines.power(block.off);
    for (const step of block.steps) await this.#type(shell, block, step);
  }

  async #type(shell: Shell, { where, machine, eventually, fails }: Session, step: Step): Promise<void> {
    const command = fillIn(step.command, this.#bound);
    const end = Date.now() + (eventually ? soonMs : 0);
    for (;;) {
      const { exitCode, output } = await shell.run(inShell(shell, command), commandDeadlineMs);
      const match = matchOutput(step.expected, withoutProgress(output));
      const ended = fails ? exitCode !== 0 : exitCode === 0;
      if (match.matched && ended) {
        this.#bound = new Map([...this.#bound, ...match.bound]);
        return;
      }
      if (Date.now() >= end) {
        const why = match.matched ? `--- printed\n${output}` : match.why;
        throw new Error(`${where}, on ${machine}, exit code ${exitCode}: ${command}\n${why}`);
      }
      await delay(againMs);
    }
  }
}

/** Progress of `skep`'s commands: on a terminal, which no page is, each such line takes the place of the one before, and the last goes. */
const withoutProgress = (output: string): string => output.replace(/^\[ *\d+\.\d s\] .*\n/gm, '');

/** The command on lines of its own, as it may end in a here document. */
const inShell = ({ home, memory }: Shell, command: string): string => `exec 2>&1
mkdir -p ${home}; cd ${home}
[ ! -e ${memory} ] || . ${memory}
${command}
code=$?
{ export -p; declare -f; printf 'cd %q\\n' "$PWD"; } >${memory}
exit $code`;
