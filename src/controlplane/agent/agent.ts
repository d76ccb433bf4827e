/** A node's agent, wired: the session with the managers, the worker with its tasks, the network handed to the dataplane. */
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import { espLabel } from '../../model/encryption.js';
import type { NodeId, RandomSource } from '../../model/ids.js';
import type { TlsInfo } from '../../model/objects.js';
import { nothingAllowed } from '../../model/host-access.js';
import type { HostAllowance } from '../../model/host-access.js';
import type { HostRoute } from '../../model/host-routes.js';
import { atLeast } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import { Garbage } from '../../runtime/garbage.js';
import type { Log } from '../../runtime/log.js';
import type { Engine } from '../dockerd/client.js';
import { ContainerEvents } from '../dockerd/events.js';
import type { AttachControl } from '../attach-control.js';
import type { ManagerAddress, SessionMessage, WireNodeDescription } from '../rpc/messages.js';
import { HostRoutes } from './host-routes.js';
import { NetworkAttachments, disconnectUsersContainers } from './attachments.js';
import { ContainerTunnels } from './container-tunnels.js';
import { LegWatch } from './leg-watch.js';
import { LocalNetworks } from './local-networks.js';
import { engineTaskLogs } from './engine-task-logs.js';
import { LogPublisher } from './log-publisher.js';
import type { DataplaneFacts } from './node-description.js';
import { describeNode } from './node-description.js';
import type { Dataplane } from './node-network.js';
import { NodeNetwork } from './node-network.js';
import { HostPayloadFiles } from './payload-files.js';
import type { PayloadFiles } from './payload-files.js';
import { AgentSession } from './session.js';
import type { SessionOptions } from './session.js';
import { Silence } from './silence.js';
import type { PeerListener } from './silence.js';
import { StatusReporter } from './status-reporter.js';
import { TaskBarrier } from './task-barrier.js';
import { watchHostProcess } from './process-watch.js';
import type { WatchProcess } from './process-watch.js';
import type { RecordSealer } from './task-records.js';
import { outlivesReboot, TaskRecords } from './task-records.js';
import type { RecordFiles } from './task-records.js';
import { ContainerController } from './task-controller.js';
import { TaskImages } from './task-images.js';
import { NodePayloads } from './task-payloads.js';
import { TaskWorker, removeTaskContainers, removeTaskFiles } from './worker.js';

export interface AgentOptions {
  readonly nodeId: NodeId;
  readonly engine: Engine;
  readonly dataplane: Dataplane & PeerListener;
  /** What the dataplane says of this host; undefined: not known (yet). */
  readonly facts: () => Promise<DataplaneFacts | undefined>;
  /** What of this host services may be given; absent: nothing. */
  readonly allowance?: HostAllowance;
  /** See {@link TaskImages}; absent: no. */
  readonly preferOfflineImages?: boolean;
  /** Asked for before each session. */
  readonly credentials: () => ChannelCredentials;
  /** What the node says of its certificate, and when that is another one. Absent: it has none. */
  readonly certificate?: {
    tlsInfo(): TlsInfo;
    subscribe(listener: () => void): () => void;
  };
  /** Over the defaults of rpc/clients.ts, e.g. the server name to expect. */
  readonly channelOptions?: ChannelOptions;
  readonly managers: readonly ManagerAddress[];
  readonly dataPathAddr: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  readonly onMessage?: (message: SessionMessage) => void;
  /** Where what this node has to do is remembered, and how it is sealed there. */
  readonly swarmDir: string;
  readonly sealer: RecordSealer;
  /** The kernel's, by which a restart of the machine is known. */
  readonly bootId: string;
  /** Where secrets and configs of tasks are while these run: on a tmpfs. */
  readonly tasksDir: string;
  /** What there is of this machine besides its engine; by default read from the machine. */
  readonly host?: Partial<AgentHost>;
}

/** The machine, where it is not asked through the engine. */
export interface AgentHost {
  readonly routes: () => Promise<HostRoute[]>;
  readonly nameservers: () => Promise<readonly string[]>;
  readonly files: RecordFiles;
  readonly payloadFiles: PayloadFiles;
  readonly connect: NonNullable<SessionOptions['connect']>;
  readonly watchProcess: WatchProcess;
}

/**
 * After a reboot managers have so long to say what this node is to run, for they may have moved its tasks; then it goes on with
 * what it knows. A restart of the daemon alone waits for nobody.
 */
const managersFirstMs = 1_500;

export interface Agent {
  /** Resolves with the first registration at a manager; rejects when this node is no member (any more). */
  readonly ready: Promise<void>;
  managers(): readonly ManagerAddress[];
  readonly attachments: AttachControl;
  /** Stops talking to managers and driving tasks. Containers and network stay as they are. */
  close(): Promise<void>;
}

export function startAgent(options: AgentOptions): Agent {
  const { nodeId, engine, dataplane, facts, clock, allowance = nothingAllowed, host = {} } = options;
  const hostRoutes = new HostRoutes();
  const routes = host.routes ?? ((): Promise<HostRoute[]> => hostRoutes.read());
  const log = options.log.child({ part: 'agent' });
  const common = { clock, log };
  const stop = new AbortController();

  const events = new ContainerEvents(engine, common);
  const legWatch = new LegWatch({ nodeId, engine, ...common });
  let description: WireNodeDescription | undefined;
  // Assignments come only within a session, and a session begins with a description.
  const hasEsp = (): boolean => description?.engineLabels[espLabel] !== 'false';
  const barrier = new TaskBarrier({
    programmedPast: (revision, signal) => network.programmedPast(revision, signal),
    ...common,
  });
  const network: NodeNetwork = new NodeNetwork({ dataplane, barrier, hasEsp, ...common });
  const localNetworks = new LocalNetworks(engine, log);
  const images = new TaskImages({ engine, preferOffline: options.preferOfflineImages ?? false, log });
  const payloads = new NodePayloads();
  const payloadFiles = host.payloadFiles ?? new HostPayloadFiles(options.tasksDir);
  const watchProcess = host.watchProcess ?? watchHostProcess(log);
  const reporter = new StatusReporter(common);
  const silence = new Silence({ dataplane, ...common });
  const describe = async (): Promise<WireNodeDescription> =>
    (description = {
      ...describeNode(await engine.info(), await routes(), await facts(), allowance),
      tlsInfo: options.certificate?.tlsInfo() ?? null,
    });
  const node = () => ({
    id: nodeId,
    hostname: description?.hostname ?? '',
    platform: { architecture: description?.architecture ?? '', os: description?.os ?? '' },
  });
  const worker = new TaskWorker({
    nodeId,
    engine,
    localNetworks,
    payloadFiles,
    controllerFor: (task, calls) =>
      new ContainerController(
        task,
        {
          ...{ engine, events, legWatch, network, localNetworks, images, payloads, payloadFiles },
          ...{ node, allowance, watchProcess, ...common },
        },
        calls,
      ),
    report: (taskId, report) => {
      records.note(taskId, report);
      reporter.put(taskId, report);
    },
    ...common,
  });
  const records = new TaskRecords({ ...options, ...(host.files && { files: host.files }), log });
  const { random } = options;
  const attachments = new NetworkAttachments({
    ...{ engine, events, network, localNetworks, random, ...common },
    ...(host.nameservers && { hostNameservers: host.nameservers }),
  });
  const tunnels = new ContainerTunnels({
    ...{ nodeId, engine, allowance, log },
    hasTask: (id) => worker.runner(id) !== undefined,
  });
  const taskLogs = engineTaskLogs(engine, (id, signal) => worker.untilStarted(id, signal), clock);
  const session = new AgentSession({
    ...options,
    ...(host.connect && { connect: host.connect }),
    log,
    describe,
    network,
    barrier,
    worker: {
      assign: (tasks, complete) => {
        told.abort();
        records.keep(tasks, () => network.knownOverlays());
        worker.assign(tasks, complete);
      },
    },
    attachments,
    payloads,
    reporter,
    silence,
    logs: new LogPublisher({ taskLogs, clock, log }),
    tunnels,
    garbage: new Garbage({ clock }),
  });

  /** Aborts when a manager has said what this node is to run. */
  const told = new AbortController();
  const resume = async (): Promise<void> => {
    const record = await records.load();
    const recalled = (async () => {
      if (record === null) return;
      const isReboot = record.bootId !== options.bootId;
      const again = new Set(isReboot ? record.tasks.filter(outlivesReboot).map(({ id }) => id) : []);
      // Also those that a manager names first are started again.
      worker.resume([], again);
      const either = AbortSignal.any([told.signal, stop.signal]);
      if (isReboot) await clock.sleep(managersFirstMs, either).catch(() => undefined);
      if (either.aborted) return;
      log.info({ tasks: record.tasks.length, again: again.size }, 'going on with the tasks of before');
      network.recall(record.overlays);
      worker.resume(
        record.tasks.filter(({ status }) => atLeast(status.state, 'ready')),
        again,
      );
    })();
    await Promise.all([recalled, session.run(stop.signal)]);
  };
  const running = [events, legWatch, network, silence].map((part) => part.run(stop.signal)).concat(resume());
  // A bug ends the process, not only this promise.
  for (const part of running)
    part.catch((err: unknown) =>
      setImmediate(() => {
        throw err;
      }),
    );
  const close = async (): Promise<void> => {
    stop.abort(new Error('the agent is closing'));
    tunnels.close();
    await Promise.allSettled(running);
    await worker.close();
    await records.flush();
  };
  return {
    ready: session.ready,
    managers: () => session.managers(),
    attachments,
    close,
  };
}

/** Removes a node's task containers with their files, and local networks, which users' containers leave: it leaves its cluster. Its agent is closed. */
export async function removeFromEngine(options: {
  readonly nodeId: NodeId;
  readonly engine: Engine;
  readonly tasksDir: string;
  readonly log: Log;
}): Promise<void> {
  await disconnectUsersContainers(options);
  await removeTaskContainers(options, () => false);
  await removeTaskFiles(new HostPayloadFiles(options.tasksDir), () => false);
  await new LocalNetworks(options.engine, options.log).sweep();
}
