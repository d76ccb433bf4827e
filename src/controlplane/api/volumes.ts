/**
 * `/volumes`, where volumes of the cluster are asked for (API 1.42): there are none here, which a manager says. The engine, to
 * which all other volumes belong, would answer that its node is no manager.
 */
import { SkepError } from '../../model/errors.js';
import { passThrough } from '../dockerd/passthrough.js';
import { requireStore } from './context.js';
import type { Handler } from './context.js';
import { jsonOf, memberOf } from './convert/json.js';

/** The oldest version whose clients can ask for volumes of the cluster. */
const clusterVolumesSince = 42;

export const createVolume: Handler = async (context, request) => {
  const body = await request.body();
  const ofCluster = memberOf(jsonOf(body), 'ClusterVolumeSpec') ?? null;
  if (ofCluster === null || request.minor < clusterVolumesSince)
    return passThrough(context.engine.socketPath, request.http, request.reply, { body });
  requireStore(context);
  throw new SkepError('unimplemented', 'cluster volumes are not supported');
};

/** Only volumes of the cluster can be updated. */
export const updateVolume: Handler = async (context, request) => {
  const { store } = context.control.membership();
  if (!store) return passThrough(context.engine.socketPath, request.http, request.reply);
  request.version('swarm object');
  throw new SkepError('notFound', `volume ${request.param(0)} not found`);
};
