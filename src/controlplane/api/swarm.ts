/** `/swarm`: the cluster and this node's membership. Address checks are the node's own (SwarmControl). */
import { faultOfClusterTimes } from '../../model/cluster-times.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import type { Cluster, ClusterSpec } from '../../model/objects.js';
import { normalizedOrAsIs } from '../ca/chain.js';
import { isRotating } from '../ca/root-trust.js';
import { nextLock, parseUnlockKey } from '../../model/unlock-key.js';
import type { ApiContext, Handler } from './context.js';
import { notManager, requireStore } from './context.js';
import { bool, field, strings, struct, text, textOf, uint32 } from './convert/codec.js';
import { clusterSpecRequest, swarm } from './convert/objects.js';
import type { ClusterSpecRequest } from './convert/objects.js';
import type { InitRequest, JoinRequest } from './swarm-control.js';

/** What is none is refused by the node, after what Swarm refuses before it. */
const availability = textOf('swarm.NodeAvailability');

const initRequest = struct<InitRequest & { readonly spec: ClusterSpecRequest }>('InitRequest', {
  listenAddr: field('ListenAddr', text),
  advertiseAddr: field('AdvertiseAddr', text),
  dataPathAddr: field('DataPathAddr', text, 30),
  dataPathPort: field('DataPathPort', uint32, 40),
  forceNewCluster: field('ForceNewCluster', bool),
  spec: field('Spec', clusterSpecRequest),
  autoLockManagers: field('AutoLockManagers', bool),
  availability: field('Availability', availability),
  defaultAddrPool: field('DefaultAddrPool', strings, 39),
  subnetSize: field('SubnetSize', uint32, 39),
});

const joinRequest = struct<JoinRequest>('JoinRequest', {
  listenAddr: field('ListenAddr', text),
  advertiseAddr: field('AdvertiseAddr', text),
  dataPathAddr: field('DataPathAddr', text, 30),
  remoteAddrs: field('RemoteAddrs', strings),
  joinToken: field('JoinToken', text),
  availability: field('Availability', availability),
});

const unlockRequest = struct<{ readonly unlockKey: string }>('UnlockRequest', {
  unlockKey: field('UnlockKey', text),
});

/** The cluster without anything secret. */
export const clusterView = ({ tlsInfoOf }: ApiContext, cluster: Cluster) => {
  const { rootCa: _, rootRotation: __, joinTokens: ___, managersLock: ____, ...shown } = cluster;
  return { ...shown, tlsInfo: tlsInfoOf(cluster), rootRotationInProgress: isRotating(cluster) };
};

export const inspectSwarm: Handler = async (context, request) => {
  const cluster = requireStore(context).view().cluster();
  request.json(
    200,
    request.shown(swarm, { ...clusterView(context, cluster), joinTokens: cluster.joinTokens }),
  );
};

export const initSwarm: Handler = async ({ control }, request) => {
  const { spec, ...init } = await request.decode(initRequest);
  const { signingCaCert, signingCaKey, ...given } = spec;
  if (signingCaCert !== '' || signingCaKey !== '' || given.externalCas !== undefined)
    throw new SkepError(
      'unimplemented',
      'a swarm is initialized with a root CA of its own: "docker swarm ca --rotate" then moves it to another one',
    );
  request.json(200, await control.init({ ...init, spec: given }));
};

export const joinSwarm: Handler = async ({ control }, request) => {
  await control.join(await request.decode(joinRequest));
  request.empty(200);
};

export const leaveSwarm: Handler = async ({ control }, request) => {
  await control.leave(request.flag('force'));
  request.empty(200);
};

/** The spec replaces the stored one; a zero heartbeat or expiry falls back to the default where it is used. */
export const updateSwarm: Handler = async (context, request) => {
  const version = request.version('swarm');
  const rotateWorker = request.strictFlag('rotateWorkerToken', false);
  const rotateManager = request.strictFlag('rotateManagerToken', false);
  const rotateUnlockKey = request.strictFlag('rotateManagerUnlockKey', false);
  const { signingCaCert, signingCaKey, ...given } = await request.decode(clusterSpecRequest);
  // Docker's SDK for Python leaves the one possible name out.
  const spec = withNormalRoots({ ...given, name: given.name || 'default' });
  const store = requireStore(context);
  if (spec.name !== '' && spec.name !== 'default')
    throw new SkepError('invalidArgument', 'swarm spec must be named "default"');
  const fault = faultOfClusterTimes(spec);
  if (fault !== undefined) throw controlApiError('invalidArgument', fault);
  const outOfSequence = (): SkepError => controlApiError('unknown', 'update out of sequence');
  const known = store.view().cluster();
  if (known.version !== version) throw outOfSequence();
  const { externalCas = [], forceRotate } = spec;
  // Of the version that is to be updated: the roots are those of then.
  const roots = await context.changeRoots(known, { signingCaCert, signingCaKey, externalCas, forceRotate });
  await store.update((tx) => {
    const { rootRotation: _, ...cluster } = tx.cluster();
    if (cluster.version !== version) throw outOfSequence();
    const { worker, manager } = cluster.joinTokens;
    const managersLock = nextLock(
      cluster.managersLock,
      { isOn: spec.autoLockManagers, rotate: rotateUnlockKey },
      context.random,
    );
    tx.update('cluster', {
      ...cluster,
      ...roots,
      spec: { ...spec, name: 'default' },
      joinTokens: {
        worker: rotateWorker ? context.rotateToken(worker) : worker,
        manager: rotateManager ? context.rotateToken(manager) : manager,
      },
      ...(managersLock && { managersLock }),
    });
  });
  request.empty(200);
};

/** Roots in the form in which they are compared; what is none is kept, and nobody's. */
function withNormalRoots({ externalCas, ...spec }: ClusterSpec): ClusterSpec {
  if (externalCas === undefined) return spec;
  return {
    ...spec,
    externalCas: externalCas.map((ca) => ({ ...ca, caCert: normalizedOrAsIs(ca.caCert) })),
  };
}

/** Empty where autolock is off. */
export const unlockKey: Handler = async (context, request) => {
  const { managersLock } = requireStore(context).view().cluster();
  request.json(200, { UnlockKey: managersLock?.unlockKey ?? '' });
};

export const unlockSwarm: Handler = async ({ control }, request) => {
  const { unlockKey: text } = await request.decode(unlockRequest);
  const { localNodeState, store } = control.membership();
  if (store) throw new SkepError('alreadyExists', 'swarm is not locked');
  if (localNodeState !== 'locked') throw notManager(control);
  await control.unlock(parseUnlockKey(text));
  request.empty(200);
};
