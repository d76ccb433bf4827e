/** What `docker swarm init --advertise-addr 192.0.2.1` sends: every field, nearly all empty. */
import type { CheckedInitRequest } from '../../../src/controlplane/node/initial-cluster.js';

export const initRequest: CheckedInitRequest = {
  listenAddr: '0.0.0.0:2377',
  advertiseAddr: '192.0.2.1',
  dataPathAddr: '',
  dataPathPort: 0,
  forceNewCluster: false,
  spec: {},
  autoLockManagers: false,
  availability: 'active',
  defaultAddrPool: [],
  subnetSize: 0,
};
