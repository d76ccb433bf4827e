/** `node dist/cli/manual.js DIR`: writes the manual pages into a directory, for the package. */
import { CommandError } from './command.js';
import { skep } from './commands.js';
import { complaintOf, printComplaint } from './complaint.js';
import { writeManual } from './manual-files.js';

try {
  const [directory, ...more] = process.argv.slice(2);
  if (directory === undefined || more.length > 0)
    throw new CommandError(2, 'it needs one DIR', {
      means: 'DIR is where the pages are written. Nothing was done.',
      todo: 'Write "node dist/cli/manual.js DIR".',
    });
  await writeManual(directory);
} catch (err) {
  const complaint = complaintOf(err, { ...skep, path: ['manual'] });
  printComplaint({ err: (line) => process.stderr.write(`${line}\n`) }, complaint, false);
  process.exitCode = complaint.exitCode;
}
