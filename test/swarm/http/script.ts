/**
 * The whole script, by phase: a node without a swarm, a swarm of one node that is made, updated and used, a worker that joins it,
 * and its manager locked. What a phase leaves is what the next one begins with.
 */
import type { Step } from './step.js';
import { paths, refusals } from './steps/everywhere.js';
import { asWorker, initialised, joined, left, locked, updated } from './steps/membership.js';
import { madeServices, nodes, refusedServices, removed, services, tasks } from './steps/objects.js';
import { configs, engine, networks, secrets } from './steps/rest.js';
import { versions } from './steps/versions.js';

/** @param api the version that `<api>` stands for, such as `1.41` */
export const scriptOf = (api: string): Readonly<Record<string, readonly Step[]>> => ({
  'no swarm': [...refusals, ...paths],
  init: initialised,
  swarm: updated,
  paths,
  nodes,
  'services refused': refusedServices,
  'services made': madeServices,
  services,
  tasks,
  engine,
  'services removed': removed,
  versions: versions(Number(api.split('.')[1])),
  secrets,
  configs,
  networks,
  join: joined,
  worker: asWorker,
  locked,
  leave: left,
});
