/**
 * Users' own containers where they meet the swarm's networks: a container is created, connected and disconnected by the
 * engine, which is told the place that the managers gave it. Whatever does not name a network of the swarm goes through
 * untouched. A place is taken before the engine is asked and given back when the engine refuses: by the agent, which
 * compares what the engine has with what is held (agent/attachments.ts).
 */
import { OutsideError, SkepError } from '../../model/errors.js';
import { taskLabels } from '../../model/task-labels.js';
import type { AttachControl, AttachedNetwork, AttachRequest } from '../attach-control.js';
import { aliasesOption } from '../attach-control.js';
import {
  attachedCreate,
  attachedEndpoint,
  connectionOf,
  isEngineMode,
  networksOfCreate,
  wantedEndpoint,
  wantedOfCreate,
} from './container-body.js';
import type { IpamConfig } from '../dockerd/ipam-config.js';
import { ipamAddress, ipamConfigOf } from '../dockerd/ipam-config.js';
import type { ApiContext, Handler } from './context.js';
import { formatJson, jsonOf, withMember } from './convert/json.js';
import { httpStatus } from '../http-status.js';
import { findNetwork } from './networks.js';
import type { ApiRequest } from './request.js';
import { passThrough } from '../dockerd/passthrough.js';

/** A container as the engine's inspection has it. */
interface EngineContainer {
  readonly Id: string;
  readonly Name: string;
  readonly State: { readonly Running: boolean };
  readonly HostConfig?: { readonly AutoRemove?: boolean };
  readonly Config?: { readonly Labels?: Readonly<Record<string, string>> | null };
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, EngineEndpoint | null>> | null };
}

interface EngineEndpoint {
  readonly IPAMConfig?: IpamConfig | null;
  readonly DriverOpts?: Readonly<Record<string, string>> | null;
}

/** `POST /containers/create`: a container on a network of the swarm gets its address before it is made. */
export const createContainer: Handler = async (context, request) => {
  const { socketPath } = context.engine;
  const body = await request.body();
  const control = context.control.attachments();
  const sent = jsonOf(body);
  if (!control || sent === undefined) return passThrough(socketPath, request.http, request.reply, { body });

  const attached = new Map<string, AttachedNetwork>();
  const done = (): Promise<void> =>
    control.settle([...attached.values()].map(({ attachmentId }) => attachmentId));
  try {
    for (const network of networksOfCreate(sent)) {
      const target = await swarmTarget(context, request, network);
      if (target === undefined) continue;
      const wanted = wantedOfCreate(sent, network);
      const containerName = request.query.get('name') ?? '';
      const place = await attachOrRefuse(
        control,
        { network: target, containerId: '', containerName: containerName.replace(/^\//, ''), ...wanted },
        network,
        request.signal,
      ).catch((err: unknown) => {
        // A network that is nowhere fails the start, as in Docker; the CLI takes 404 for a missing image.
        if (isMissing(err)) return undefined;
        throw err;
      });
      if (place) attached.set(network, place);
    }
    if (attached.size === 0) return await passThrough(socketPath, request.http, request.reply, { body });
    await passThrough(socketPath, request.http, request.reply, {
      body: Buffer.from(formatJson(attachedCreate(sent, attached))),
      beforeReply: done,
    });
  } finally {
    if (attached.size > 0) await done();
  }
};

/** `POST /networks/{}/connect`. */
export const connectNetwork: Handler = async (context, request) => {
  const { engine } = context;
  const argument = request.param(0);
  request.requireJson();
  const body = await request.body();
  const control = context.control.attachments();
  const sent = jsonOf(body);
  const target = control && sent !== undefined ? await swarmTarget(context, request, argument) : undefined;
  // How a container's names are resolved depends on all of its networks.
  if (!control || sent === undefined || target === undefined)
    return passThrough(engine.socketPath, request.http, request.reply, {
      body,
      beforeReply: () => settled(context),
    });

  const { container, endpoint } = connectionOf(sent);
  const wanted = wantedEndpoint(argument, endpoint);
  const known = await inspectEngine(context, request, container);
  if (!known) throw new SkepError('notFound', `No such container: ${container}`);
  const containerName = known.Name.replace(/^\//, '');
  refuseTask(known, containerName);
  refuseSecondEndpoint(known, containerName, await findNetwork(context, request, argument));
  const place = await attachOrRefuse(
    control,
    { network: target, containerId: known.Id, containerName, ...wanted },
    argument,
    request.signal,
  );
  const done = (): Promise<void> => control.settle([place.attachmentId]);
  try {
    const rewritten = withMember(sent, 'EndpointConfig', attachedEndpoint(endpoint, place));
    await passThrough(engine.socketPath, request.http, request.reply, {
      body: Buffer.from(formatJson(rewritten)),
      url: withNetwork(request, place.engineNetworkId),
      beforeReply: done,
    });
  } finally {
    await done();
  }
};

/**
 * `POST /networks/{}/disconnect`. A network of the swarm is known to the engine under another id, or not at all: then it says so, once
 * it has found the container.
 */
export const disconnectNetwork: Handler = async (context, request) => {
  const { engine } = context;
  const argument = request.param(0);
  const body = await request.body();
  const found = await findNetwork(context, request, argument);
  const instance = found.kind === 'swarm' || found.kind === 'instance' ? found.instance : undefined;
  const url = instance && withNetwork(request, instance.Id);
  await passThrough(engine.socketPath, request.http, request.reply, {
    body,
    ...(url === undefined ? {} : { url }),
    beforeReply: () => settled(context),
  });
};

/**
 * `POST /containers/{}/start` and `restart`: a container that was made when its network did not exist yet, or whose place was
 * given to somebody else since (its node was removed from the cluster and has joined anew), gets one now, as in Swarm.
 * One of `docker run --rm` that gets none is removed, as the engine does with what it cannot start: the CLI waits for that.
 */
export const startContainer: Handler = async (context, request) => {
  const { engine } = context;
  const control = context.control.attachments();
  const known = control && (await inspectEngine(context, request, request.param(0)));
  const done: string[] = [];
  try {
    if (control && known && !known.State.Running)
      for (const [network, endpoint] of Object.entries(known.NetworkSettings.Networks ?? {}))
        done.push(
          ...(await replace(context, request, control, known, network, endpoint).catch(
            async (err: unknown): Promise<never> => {
              if (known.HostConfig?.AutoRemove) await removeUnstarted(context, known);
              throw err;
            },
          )),
        );
    await passThrough(engine.socketPath, request.http, request.reply);
  } finally {
    if (done.length > 0) await control?.settle(done);
  }
};

/** Why it was not started is what the client is to hear, whatever becomes of this. */
const removeUnstarted = ({ engine }: ApiContext, { Id }: EngineContainer): Promise<unknown> =>
  engine.call('DELETE', `/containers/${Id}?force=1&v=1`).catch(() => undefined);

/** Gives a container that does not run a place on the network if it has none; gives the attachment, if there is a new one. */
async function replace(
  context: ApiContext,
  request: ApiRequest,
  control: AttachControl,
  container: EngineContainer,
  network: string,
  endpoint: EngineEndpoint | null,
): Promise<string[]> {
  if (isEngineMode(network)) return [];
  const { engine } = context;
  const found = await findNetwork(context, request, network);
  if (found.kind === 'local') return [];
  const address = ipamAddress(endpoint?.IPAMConfig);
  const id = found.kind === 'swarm' ? found.network.id : found.kind === 'instance' ? found.id : undefined;
  // What the engine has forgotten it is told anew; else what the managers hold is good.
  if (id !== undefined && address !== '' && !control.lacks(id, address)) return [];
  const containerName = container.Name.replace(/^\//, '');
  const aliases = (endpoint?.DriverOpts?.[aliasesOption] ?? '').split(',').filter((alias) => alias !== '');
  const wanted = { network: id ?? network, containerId: container.Id, containerName, aliases };
  const place = await attachOrRefuse(control, { ...wanted, address }, network, request.signal).catch(
    (err: unknown) => {
      const isTaken =
        err instanceof SkepError && (err.kind === 'permissionDenied' || err.kind === 'invalidArgument');
      if (address === '' || !isTaken) throw err;
      return attachOrRefuse(control, { ...wanted, address: '' }, network, request.signal);
    },
  );
  if (place.address === address && found.kind !== 'unknown') return [place.attachmentId];
  const path = `/networks/${place.engineNetworkId}`;
  const settings = { IPAMConfig: ipamConfigOf(place.address), DriverOpts: endpoint?.DriverOpts ?? null };
  const calls = [
    [`${path}/disconnect`, { Container: container.Id, Force: true }],
    [`${path}/connect`, { Container: container.Id, EndpointConfig: settings }],
  ] as const;
  for (const [url, body] of calls) {
    const answer = await engine.call('POST', url, Buffer.from(JSON.stringify(body)), request.signal);
    // Not connected is what a container is that never had a place.
    if (answer.status >= 300 && url.endsWith('/connect'))
      throw new OutsideError(
        `the engine does not connect ${containerName}: ${answer.body.toString()}`,
        false,
      );
  }
  return [place.attachmentId];
}

const inspectEngine = (
  { engine }: ApiContext,
  { signal }: ApiRequest,
  container: string,
): Promise<EngineContainer | undefined> =>
  engine.get<EngineContainer>(`/containers/${encodeURIComponent(container)}/json`, signal);

/** What may take containers away or rename them: the managers hear of it before the client does. */
export const changeContainers: Handler = (context, request) =>
  passThrough(context.engine.socketPath, request.http, request.reply, {
    beforeReply: () => settled(context),
  });

const settled = async ({ control }: ApiContext): Promise<void> => control.attachments()?.settle();

/** What to ask the managers for; undefined for a network of the engine's own. */
async function swarmTarget(
  context: ApiContext,
  request: ApiRequest,
  argument: string,
): Promise<string | undefined> {
  const found = await findNetwork(context, request, argument);
  if (found.kind === 'local') return undefined;
  if (found.kind === 'unknown') return argument;
  const { id, name } =
    found.kind === 'swarm' ? { id: found.network.id, name: found.network.spec.name } : found;
  // As the user has put it, for the managers name it so when they refuse it.
  return argument === name ? argument : id;
}

async function attachOrRefuse(
  control: AttachControl,
  request: AttachRequest,
  argument: string,
  signal: AbortSignal,
): Promise<AttachedNetwork> {
  try {
    return await control.attach(request, signal);
  } catch (err) {
    // Swarm's words for a refusal of the managers; its own deadline stands for itself.
    if (!(err instanceof SkepError) || err.kind === 'deadlineExceeded') throw err;
    const { code } = httpStatus[err.kind];
    const text = `Could not attach to network ${argument}: rpc error: code = ${code} desc = ${err.message}`;
    throw new SkepError(err.kind, text, { cause: err });
  }
}

const isMissing = (err: unknown): boolean => err instanceof SkepError && err.kind === 'notFound';

/**
 * A task is on the networks of its service: what it had beside them would go with the next update, and belongs to no attachment. Swarm
 * finds no network for it.
 */
function refuseTask({ Config }: EngineContainer, containerName: string): void {
  if (Config?.Labels?.[taskLabels.taskId] === undefined) return;
  throw new SkepError(
    'permissionDenied',
    `${containerName} is a task's: its networks are those of its service (docker service update --network-add)`,
  );
}

/** Swarm's words. The engine refuses it too, but only when the place has been taken. */
function refuseSecondEndpoint(
  { State, NetworkSettings }: EngineContainer,
  containerName: string,
  found: Awaited<ReturnType<typeof findNetwork>>,
): void {
  const name =
    found.kind === 'swarm' ? found.network.spec.name : found.kind === 'instance' ? found.name : undefined;
  if (name === undefined || !State.Running || !Object.hasOwn(NetworkSettings.Networks ?? {}, name)) return;
  throw new SkepError('alreadyExists', `${containerName} is already attached to network ${name}`);
}

const withNetwork = ({ http }: ApiRequest, engineNetworkId: string): string =>
  (http.url ?? '').replace(/\/networks\/[^/?]+/, `/networks/${engineNetworkId}`);
