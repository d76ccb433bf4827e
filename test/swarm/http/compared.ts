/** The engines on which Skep is compared with Swarm. */
import { laterEngine } from '../../../src/lab/layout.js';
import type { ManagedLab } from '../../support/managed-lab.js';
import { ask } from './ask.js';

export interface Compared {
  /** Part of the names of its labs. */
  readonly lab: string;
  /** The directory of its dockerd; without one, the machine's own. */
  readonly below: { readonly engine?: string };
  /** What the script asks by, and under which the answers are kept; without one, the newest that the engine has. */
  readonly version?: string;
}

export const compared: readonly Compared[] = [
  { lab: 'own', below: {} },
  // By name, so that an engine that is newer still answers the same.
  { lab: 'later', below: { engine: laterEngine }, version: '1.51' },
];

export async function newestOf(lab: ManagedLab): Promise<string> {
  const { headers } = await ask(lab.socketOf('node1'), { method: 'GET', target: '/_ping', headers: {} });
  return headers['api-version'] ?? '';
}
