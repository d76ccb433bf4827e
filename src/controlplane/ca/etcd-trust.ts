/**
 * Whom managers' etcd trust. It reads keys and certificates anew at every handshake, but the roots that it trusts only when it
 * starts: so it is started again once the cluster has another root, one manager at a time, while all others are well (upkeep/). Until then
 * the certificates of all managers are believed by both, those that still trust the root before and those that trust the new one
 * alone: they are of the new root, and the old one's certificate for it goes with them. Pure.
 */
import { createHash } from 'node:crypto';
import type { NodeId } from '../../model/ids.js';
import type { View } from '../store/store.js';

/** A name for a set of roots: what an etcd was started with. */
export const trustName = (rootsPem: string): string =>
  createHash('sha256').update(rootsPem).digest('hex').slice(0, 32);

const managersOf = (view: View): readonly NodeId[] =>
  view
    .list('node')
    .filter(({ managerStatus }) => managerStatus !== undefined)
    .map(({ id }) => id);

/** Every manager, but for this one if it is named, is there, and its etcd trusts the root and no other. */
export function everyEtcdTrusts(view: View, rootPem: string, but?: NodeId): boolean {
  const wanted = trustName(rootPem);
  return managersOf(view).every((id) => id === but || view.get('manager', id)?.etcdTrust === wanted);
}

/**
 * Whether a manager's etcd is to be started again, to trust the cluster's root alone: the node itself has come so far, and with it
 * every other, whose certificate its etcd is then to believe.
 * @param trust of the manager's etcd, by its name, and of its node (PEM)
 */
export function isTrustOutdated(
  view: View,
  trust: { readonly ofEtcd: string; readonly ofNode: string },
): boolean {
  const { rootCa, rootRotation } = view.cluster();
  return !rootRotation && trust.ofNode === rootCa.certPem && trust.ofEtcd !== trustName(rootCa.certPem);
}
