/** The thread of names: see thread.ts. */
import assert from 'node:assert';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../runtime/clock.js';
import { createLog } from '../../runtime/log.js';
import { KeyedList } from '../../runtime/keyed-list.js';
import { overlayNamespace } from '../plan/names.js';
import type { SandboxEndpoint } from '../sandbox.js';
import { shareState } from '../share-state.js';
import { applyStateChange, endpointKey, serviceKey } from '../state-change.js';
import type { NodeNetworkState } from '../state.js';
import { publishedPortKey } from '../state.js';
import { Forwarder, hostUpstreams } from './forwarder.js';
import { DnsServer } from './server.js';
import type { FromNameThread, NameThreadOptions, ToNameThread } from './thread.js';

const { netnsDirectory, resolvConf, logName, logLevel } = workerData as NameThreadOptions;
assert(parentPort, 'runs as a thread');
const parent = parentPort;

const server = new DnsServer({
  log: createLog(logName, logLevel).child({ part: 'dns' }),
  forwarder: new Forwarder(hostUpstreams(systemClock, resolvConf), systemClock),
  netnsPath: (vni) => join(netnsDirectory, overlayNamespace(vni)),
});
/** As told, with lists that know their keys. */
const listed = (told: NodeNetworkState): NodeNetworkState => ({
  ...told,
  overlays: told.overlays.map((overlay) => ({
    ...overlay,
    endpoints: KeyedList.of(overlay.endpoints, endpointKey),
    services: KeyedList.of(overlay.services, serviceKey),
  })),
  publishedPorts: KeyedList.of(told.publishedPorts, publishedPortKey),
});

let state: NodeNetworkState | null = null;
let sandboxes: readonly SandboxEndpoint[] = [];

parent.on('message', (message: ToNameThread) => {
  const answer = (id: number, done: boolean): void =>
    parent.postMessage({ id, done } satisfies FromNameThread);
  switch (message.kind) {
    case 'state':
      state = message.state && shareState(state, listed(message.state));
      return server.setNetwork(state, sandboxes);
    case 'change':
      assert(state, 'a change is of the state told before');
      state = applyStateChange(state, message.change);
      return server.setNetwork(state, sandboxes);
    case 'sandboxes':
      ({ sandboxes } = message);
      return server.setNetwork(state, sandboxes);
    case 'retry':
      return answer(message.id, server.retry());
    case 'figures':
      parent.postMessage({
        id: message.id,
        done: true,
        figures: server.figures(),
      } satisfies FromNameThread);
      return;
    case 'open':
      return answer(message.id, server.openSandbox(message.path));
    case 'close':
      server.closeSandbox(message.path);
      return answer(message.id, true);
  }
});
