/**
 * The end of a task's process by the kernel's own word. The engine tells of it when it has taken the container apart, which is most of
 * the time for which clients would be sent to a task that is dead. Only a hint: what became of the task the engine says.
 */
import type { Log } from '../../runtime/log.js';
import { native } from '../../runtime/native.js';

/**
 * Calls `onEnd` once when the process has ended, soon if it has already; never once disposed of.
 * @param pid in the namespace of this process, as the engine tells it; 0: there is none
 */
export type WatchProcess = (pid: number, onEnd: () => void) => Disposable;

const nothing: Disposable = { [Symbol.dispose]: () => undefined };

/** By pidfd. Where the kernel has none to give, the engine is waited for. */
export const watchHostProcess =
  (log: Log): WatchProcess =>
  (pid, onEnd) => {
    if (pid === 0) return nothing;
    let isOver = false;
    const end = (): void => {
      if (!isOver) onEnd();
      isOver = true;
    };
    try {
      const watch = native().watchProcess(pid, end);
      return {
        [Symbol.dispose]: () => {
          isOver = true;
          watch.stop();
        },
      };
    } catch (err) {
      const { code } = err as NodeJS.ErrnoException;
      if (code === 'ESRCH') setImmediate(end);
      else log.warn({ pid, err }, 'cannot watch a process, the engine will tell of its end');
      return { [Symbol.dispose]: () => void (isOver = true) };
    }
  };
