/** Why a task has no node, as one of a few words: the scheduler's own text has numbers in it, and would make a series for each. Pure. */
import type { TaskStatus } from '../../model/objects.js';

/** What the scheduler's filters say (scheduler/filters.ts), and what it is called here. */
const words: readonly (readonly [text: string, reason: string])[] = [
  ['not available for new tasks', 'availability'],
  ['insufficient resources', 'resources'],
  ['missing plugin', 'plugin'],
  ['scheduling constraints not satisfied', 'constraints'],
  ['unsupported platform', 'platform'],
  ['host access not allowed', 'host_access'],
  ['host-mode port already in use', 'host_port'],
  ['max replicas per node limit exceed', 'max_replicas'],
];

/** Of a task that is `new` or `pending`; where nodes differ in why, of most of them. */
export function waitingReason({ state, err }: Pick<TaskStatus, 'state' | 'err'>): string {
  if (state === 'new') return 'addresses';
  if (err === undefined || err === '') return 'undecided';
  if (err === 'no suitable node') return 'no_node';
  const [most = ''] = err.split(';');
  return words.find(([text]) => most.includes(text))?.[1] ?? 'other';
}
