/**
 * What the package's scripts ask for (packaging/): `remember`, before Skep first runs on a host, and `empty`, before it is removed.
 * skepd is stopped for the latter and skep-dataplane runs: the engine asks it when it gives up its networks.
 * Exit code 0: done; 1: something is left, and was told of; 2: no such request.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataplaneSocket, hostOptions } from '../cli/paths.js';
import { removeFromEngine } from '../controlplane/agent/agent.js';
import { Engine } from '../controlplane/dockerd/client.js';
import { endEtcd } from '../controlplane/etcd/running-etcd.js';
import { readMembership } from '../controlplane/node/membership-file.js';
import { StoreDirectory } from '../controlplane/node/store-directory.js';
import { hasPins } from '../dataplane/balancer/pinned-tables.js';
import { readSysctl, writeSysctl } from '../dataplane/kernel/sysctls.js';
import { DataplaneClient } from '../dataplane/rpc/client.js';
import { systemClock } from '../runtime/clock.js';
import { createLog } from '../runtime/log.js';
import { emptyKernel } from './empty-kernel.js';
import { rememberGatewayBridge, removeGatewayBridge } from './gateway-bridge.js';
import type { Parameters } from './host-parameters.js';
import { rememberParameters, restoreParameters } from './host-parameters.js';
import { runSteps } from './steps.js';

const told = hostOptions(process.env);
const stateDir = told['paths.state-dir'];
const swarmDir = join(stateDir, 'swarm');
const hostFile = join(stateDir, 'host.json');
/** There: the engine had no docker_gwbridge before. */
const noBridgeFile = join(stateDir, 'no-gateway-bridge');
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const parameters: Parameters = {
  read: (path) => readSysctl(null, path),
  write: (path, value) => writeSysctl(null, path, value),
};

async function emptyEngine(): Promise<void> {
  const membership = await readMembership(swarmDir);
  if (!membership) return;
  await removeFromEngine({
    nodeId: membership.nodeId,
    engine: new Engine(told['engine.address']),
    tasksDir: join(told['paths.run-dir'], 'tasks'),
    log: createLog('skep-uninstall'),
  });
}

async function remember(): Promise<void> {
  // An upgrade asks again, when the bridge is there by our own doing.
  const remembered = existsSync(hostFile);
  await rememberParameters(hostFile, parameters);
  await rememberGatewayBridge(noBridgeFile, remembered, new Engine(told['engine.address']));
}

async function clearKernel(): Promise<void> {
  const dataplane = new DataplaneClient(dataplaneSocket(process.env));
  const pins = told['balancer.bpf-dir'];
  try {
    await emptyKernel({ dataplane, hasPins: () => hasPins(pins), clock: systemClock });
  } finally {
    dataplane.close();
  }
}

const empty = (): Promise<boolean> =>
  runSteps(
    [
      {
        failed: `the etcd of this manager could not be ended`,
        meaning: `it runs on with its data in ${swarmDir}, and holds port 2380`,
        remedy: `end the process whose arguments name ${swarmDir}`,
        run: () => endEtcd(new StoreDirectory(swarmDir).path),
      },
      {
        failed: 'containers and networks of the swarm could not be removed from the engine',
        meaning:
          'they stay in it; their containers no longer reach one another, and nobody starts them again',
        remedy:
          'docker ps --all --filter label=com.docker.swarm.task and docker network ls --filter driver=skep name them: docker rm --force, docker network rm',
        run: emptyEngine,
      },
      {
        failed: "the engine's network docker_gwbridge could not be removed",
        meaning: 'it stays: a bridge with nobody on it',
        remedy: 'docker network rm docker_gwbridge',
        run: () => removeGatewayBridge(noBridgeFile, new Engine(told['engine.address'])),
      },
      {
        failed: "this host's kernel could not be emptied of Skep's",
        meaning: `namespaces skep-*, links sk*, chains SKEP-* and sets skep-* may be left, until the host is started again`,
        remedy: 'start the host again',
        run: clearKernel,
      },
      {
        failed: "parameters of this host's network could not be put back",
        meaning: `reverse path filtering stays off: see ${hostFile}`,
        remedy: 'sysctl --system, or start the host again',
        run: () => restoreParameters(hostFile, parameters),
      },
    ],
    say,
  );

switch (process.argv[2]) {
  case 'remember':
    await remember();
    break;
  case 'empty':
    process.exitCode = (await empty()) ? 0 : 1;
    break;
  default:
    say('skep: expected remember or empty');
    process.exitCode = 2;
}
