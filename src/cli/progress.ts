/**
 * Progress of long commands, on standard error, so that standard output has results alone. On a terminal it is one line that is written
 * anew, with the step and the seconds since the beginning, and goes when the command ends; elsewhere it is a plain line for each step.
 */
import type { Terminal } from './command.js';

const tickMs = 250;

export interface Progress extends Disposable {
  /** What is done now, in a few words. */
  readonly step: (text: string) => void;
}

export interface ProgressOptions {
  /** Shows nothing at all. */
  readonly quiet?: boolean;
  /** Shows nothing of what is done earlier: for commands that are long only now and then. Default 0. */
  readonly patienceMs?: number;
  /** Default: this process's clock. */
  readonly nowMs?: () => number;
}

/** Ends with its scope. */
export function showProgress(terminal: Terminal, options: ProgressOptions = {}): Progress {
  const { quiet = false, patienceMs = 0, nowMs = () => performance.now() } = options;
  if (quiet) return { step: () => undefined, [Symbol.dispose]: () => undefined };
  const { screen, err } = terminal;
  const startedMs = nowMs();
  const elapsedMs = (): number => nowMs() - startedMs;
  let text: string | undefined;
  let isShown = false;
  const show = (): void => {
    if (text === undefined || elapsedMs() < patienceMs) return;
    const line = progressLine(elapsedMs(), text);
    if (screen) {
      // A line that wraps would not be written over by the next one.
      screen.write(`\r${line.slice(0, screen.columns - 1)}\x1b[K`);
      isShown = true;
    } else if (!isShown) {
      isShown = true;
      err(line);
    }
  };
  const timer = setInterval(show, tickMs);
  timer.unref();
  return {
    step: (next) => {
      text = next;
      if (!screen) isShown = false;
      show();
    },
    [Symbol.dispose]: () => {
      clearInterval(timer);
      if (screen && isShown) screen.write('\r\x1b[K');
    },
  };
}

/** `[  12.3 s] node1: ready`. */
export const progressLine = (elapsedMs: number, text: string): string =>
  `[${(elapsedMs / 1000).toFixed(1).padStart(6)} s] ${text}`;
