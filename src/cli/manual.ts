/** `node dist/cli/manual.js DIR`: writes the manual pages into a directory, for the package. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { skep } from './commands.js';
import { daemons } from './daemons.js';
import { manualPages } from './manual-page.js';
import { version } from './version.js';

const [directory, ...more] = process.argv.slice(2);
if (directory === undefined || more.length > 0) {
  process.stderr.write(
    'manual: it needs one DIR\n  This means: DIR is where the pages are written. Nothing was done.\n' +
      '  What to do: Write "node dist/cli/manual.js DIR".\n',
  );
  process.exitCode = 2;
} else {
  await mkdir(directory, { recursive: true });
  for (const { file, roff } of manualPages(skep, daemons, version()))
    await writeFile(join(directory, file), roff);
}
