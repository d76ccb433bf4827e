/** What is kept of labs on this machine beside what their names say, and which labs there are. Reading it costs two files a lab. */
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { labPaths, nodeLayout } from './layout.js';
import type { LabPaths, NodeLayout } from './layout.js';
import type { Kernel } from './kernels.js';

/** Where the labs of this machine are, a directory each. */
export const labsDir = '/run/skep-lab';

export interface LabState {
  readonly nodes: number;
  readonly engineOnly: boolean;
  readonly swarmMode: boolean;
  readonly kernel: Kernel;
  readonly balancer?: string;
  readonly allow?: string;
  readonly engine?: string;
  readonly package?: string;
}

/** Undefined if there is no such lab, or an `up` that was interrupted before it started anything. */
export const readState = ({ state }: LabPaths): LabState | undefined =>
  existsSync(state) ? (JSON.parse(readFileSync(state, 'utf8')) as LabState) : undefined;

export function writeState({ state }: LabPaths, value: LabState): void {
  writeFileSync(`${state}.new`, `${JSON.stringify(value)}\n`);
  renameSync(`${state}.new`, state);
}

/** The names of the labs there are on this machine, complete or not. */
export const labNames = (): string[] => (existsSync(labsDir) ? readdirSync(labsDir).sort() : []);

/** The nodes of a lab with so many of them. */
export const nodesOf = (paths: LabPaths, count: number): NodeLayout[] =>
  Array.from({ length: count }, (_, at) => nodeLayout(paths, at + 1));

/** The names of a lab's nodes; none of one that there is not. Throws as {@link labPaths}. */
export function nodeNames(name: string): string[] {
  const paths = labPaths(name);
  return nodesOf(paths, readState(paths)?.nodes ?? 0).map((node) => node.name);
}
