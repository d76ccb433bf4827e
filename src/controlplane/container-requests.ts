/**
 * Requests about one container, as the path says them, and which of them reach a task's container on another node. The manager
 * that is asked and the node that has the container go by the same table: what is not in it, no node answers a manager.
 */

/** What the path names: a container, or an exec instance of one. */
export type Subject = 'container' | 'exec';

export interface ContainerRequest {
  readonly subject: Subject;
  /** Id, prefix of one or name; percent-decoded. */
  readonly argument: string;
  /** What is asked, e.g. `GET logs`; `DELETE` without more. */
  readonly operation: string;
}

/** Reads, what a terminal and a copy need, and no more: what a task's container is and whether it runs is its service's. */
const remote: Readonly<Record<Subject, ReadonlySet<string>>> = {
  container: new Set([
    ...['GET json', 'GET logs', 'GET top', 'GET stats', 'GET changes', 'GET export'],
    ...['HEAD archive', 'GET archive', 'PUT archive'],
    ...['POST attach', 'GET attach/ws', 'POST exec', 'POST resize', 'POST wait', 'POST kill'],
  ]),
  exec: new Set(['POST start', 'POST resize', 'GET json']),
};

/** Not containers: they are asked of the engine as a whole. */
const ofAll = new Set(['json', 'create', 'prune']);

/** Undefined for what is about no single container. `path` is without version and query. */
export function parseContainerRequest(method: string, path: string): ContainerRequest | undefined {
  const match = /^\/(containers|exec)\/([^/]+)(?:\/(.+))?$/.exec(path);
  const [, collection, argument = '', rest] = match ?? [];
  if (collection === undefined || (rest === undefined && ofAll.has(argument))) return undefined;
  return {
    subject: collection === 'exec' ? 'exec' : 'container',
    argument: decode(argument),
    operation: rest === undefined ? method : `${method} ${rest}`,
  };
}

export const isRemoteOperation = ({ subject, operation }: ContainerRequest): boolean =>
  remote[subject].has(operation);

/** Answers of these are a container's output, in frames or as a terminal has it. */
export const isOutput = ({ operation }: ContainerRequest): boolean =>
  ['GET logs', 'POST attach', 'POST start'].includes(operation);

const decode = (part: string): string => {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
};

/** A whole id, as engines give them to containers and exec instances. */
export const isEngineId = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);

/** What a manager calls an exec instance of another node's container: no manager need remember where it is. */
export const formatRemoteExec = (execId: string, nodeId: string): string => `${execId}.${nodeId}`;

export function parseRemoteExec(
  argument: string,
): { readonly execId: string; readonly nodeId: string } | undefined {
  const [, execId, nodeId] = /^([0-9a-f]{64})\.([0-9a-z]{25})$/.exec(argument) ?? [];
  return execId === undefined || nodeId === undefined ? undefined : { execId, nodeId };
}
