/** The image of graceful-server.mjs: whatever of its requests fails, the way to it lost. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageSource } from '../../src/lab/images.js';

const name = 'skep/graceful:test';

export const gracefulImage = {
  names: [name],
  changes: ['CMD ["/usr/bin/node", "/server.mjs"]', 'ENV PATH=/bin:/usr/bin'],
  programs: [process.execPath],
  files: { 'server.mjs': readFileSync(join(import.meta.dirname, 'graceful-server.mjs'), 'utf8') },
} as const satisfies ImageSource;
