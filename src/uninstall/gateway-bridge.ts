/**
 * The engine makes a network `docker_gwbridge` for the first container on an overlay, which gives such containers their default
 * route, and keeps it. Where it was not there before Skep, it goes with Skep; somebody else's containers keep it.
 */
import { readFile, rm } from 'node:fs/promises';
import type { Engine } from '../controlplane/dockerd/client.js';
import { writeFileAtomic } from '../runtime/atomic-file.js';

/** libnetwork's name for it. */
export const gatewayBridge = 'docker_gwbridge';

/** Keeps that the engine has none, in a file that is there or not. What was found first stays. Rejects with EngineError, the file system's error. */
export async function rememberGatewayBridge(
  file: string,
  remembered: boolean,
  engine: Pick<Engine, 'hasNetwork'>,
): Promise<void> {
  if (remembered || (await engine.hasNetwork(gatewayBridge))) return;
  await writeFileAtomic(file, '');
}

/** Removes it where it was not there before, and nothing is on it. Rejects with EngineError. */
export async function removeGatewayBridge(
  file: string,
  engine: Pick<Engine, 'removeNetwork'>,
): Promise<void> {
  try {
    await readFile(file);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw err;
  }
  // False: a container of somebody else's is on it, which an overlay of another driver may need.
  await engine.removeNetwork(gatewayBridge);
  await rm(file, { force: true });
}
