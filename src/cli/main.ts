/** The `skep` command: where the code of each command is, and this process's streams. */
import type { Run, Terminal } from './command.js';
import type { CommandName } from './commands.js';
import { runCommandLine } from './dispatch.js';
import { requireLabCode } from './lab-code.js';
import type { LabCommand } from './lab-commands.js';
import { version } from './version.js';

type Load = () => Promise<Run>;

async function lab(name: LabCommand): Promise<Run> {
  requireLabCode();
  return (await import('../lab/main.js')).labRuns[name];
}

/** One for each command of the table. Loaded when asked for: `skep --help` needs none of what they need. */
const loaders: Readonly<Record<CommandName, Load>> = {
  verify: async () => (await import('./verify.js')).verify,
  status: async () => (await import('./verify.js')).status,
  trace: async () => (await import('./trace.js')).trace,
  backup: async () => (await import('./backup.js')).backup,
  restore: async () => (await import('./backup.js')).restore,
  doctor: async () => (await import('./doctor/doctor.js')).doctor,
  'config check': async () => (await import('./config.js')).configRuns.check,
  'config show': async () => (await import('./config.js')).configRuns.show,
  'config example': async () => (await import('./config.js')).configRuns.example,
  completion: async () => (await import('./completion/completion.js')).completion,
  __complete: async () => (await import('./completion/candidates.js')).complete,
  'lab up': () => lab('up'),
  'lab down': () => lab('down'),
  'lab ls': () => lab('ls'),
  'lab status': () => lab('status'),
  'lab exec': () => lab('exec'),
  'lab client': () => lab('client'),
  'lab logs': () => lab('logs'),
  'lab kill': () => lab('kill'),
  'lab start': () => lab('start'),
  'lab cut': () => lab('cut'),
  'lab heal': () => lab('heal'),
};

/** As of terminals of old. */
const columnsUnknown = 80;
const { stdout, stderr, env } = process;
const terminal: Terminal = {
  out: (line) => stdout.write(`${line}\n`),
  err: (line) => stderr.write(`${line}\n`),
  env,
  ...(stderr.isTTY && {
    screen: {
      get columns() {
        // A terminal that does not know its width says 0.
        return stderr.columns || columnsUnknown;
      },
      write: (text: string) => void stderr.write(text),
    },
  }),
};
process.exitCode = await runCommandLine(process.argv.slice(2), { terminal, loaders, version });
