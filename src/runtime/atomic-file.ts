/**
 * Files that are either the old content or the new, also after a power cut: written beside, synced, renamed, and the
 * directory synced, or the rename itself could be lost.
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Where it is written first; what a power cut leaves there is not the file. */
export const besideOf = (path: string): string => `${path}.new`;

/** Replaces `path` with `data`; makes the directory (0700) if needed. Throws the file system's error. */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const directory = dirname(path);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const beside = besideOf(path);
  const file = await open(beside, 'w', mode);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncDirectory(directory);
}

/** Resolves once what was made, renamed or removed in the directory is on disk. Throws the file system's error. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
