/** The manual pages as files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { skep } from './commands.js';
import { daemons } from './daemons.js';
import { manualPages } from './manual-page.js';
import { version } from './version.js';

/** Writes them all into a directory, which is made where it is not there. Throws what the file system throws. */
export async function writeManual(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const { file, roff } of manualPages(skep, daemons, version()))
    await writeFile(join(directory, file), roff);
}
