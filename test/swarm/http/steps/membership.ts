/** /swarm: initialised wrongly and rightly, updated, joined, locked, unlocked and left. */
import { at, get, post } from '../step.js';
import type { Step } from '../step.js';
import { infoShape, paths, refusals } from './everywhere.js';

const leave = 'POST /v1.41/swarm/leave?force=1';
const listen = '0.0.0.0:2377';
export const init = { ListenAddr: listen, AdvertiseAddr: '192.168.60.1' };

const initWith = (more: object): Step =>
  post('/v<api>/swarm/init', { ...init, ...more }, { note: JSON.stringify(more), undo: leave });

/** With a token that is none: whatever is looked at after it is not seen. */
const joinWith = (more: object): Step =>
  post(
    '/v<api>/swarm/join',
    { ListenAddr: listen, RemoteAddrs: ['192.168.60.2:2377'], JoinToken: 'nonsense', ...more },
    { note: JSON.stringify(more) },
  );

export const initialised: readonly Step[] = [
  post('/v<api>/swarm/init'),
  post('/v<api>/swarm/init', ''),
  post('/v<api>/swarm/init', 'null'),
  post('/v<api>/swarm/init', '[]'),
  post('/v<api>/swarm/init', 'garbage'),
  post('/v<api>/swarm/init', '{"ListenAddr":1}'),
  post('/v<api>/swarm/init', { Availability: 'nonsense' }),
  post('/v<api>/swarm/init', JSON.stringify(init), {
    headers: { 'Content-Type': 'text/plain' },
    undo: leave,
  }),
  initWith({ ListenAddr: '' }),
  initWith({ ListenAddr: 'nonsense' }),
  initWith({ ListenAddr: '0.0.0.0:abc' }),
  initWith({ ListenAddr: '1.2.3.4:2377' }),
  initWith({ AdvertiseAddr: '' }),
  initWith({ AdvertiseAddr: '0.0.0.0' }),
  initWith({ AdvertiseAddr: 'nonsense' }),
  initWith({ DataPathAddr: 'nonsense' }),
  initWith({ DataPathPort: 1 }),
  initWith({ DataPathPort: 65535 }),
  initWith({ Availability: 'nonsense' }),
  initWith({ Spec: { Name: 'other' } }),
  initWith({ DefaultAddrPool: ['nonsense'] }),
  initWith({ DefaultAddrPool: ['10.0.0.0/8'], SubnetSize: 30 }),
  initWith({ DefaultAddrPool: ['10.0.0.0/24'], SubnetSize: 20 }),
  initWith({ DefaultAddrPool: ['10.0.0.0/8', '10.1.0.0/16'] }),
  initWith({ Spec: 7 }),
  // Of two faults one is told.
  initWith({ ListenAddr: '', Spec: { Name: 'other' } }),
  initWith({ ListenAddr: 'nonsense', Spec: { Name: 'other' } }),
  initWith({ ListenAddr: 'nonsense', AdvertiseAddr: 'nonsense' }),
  initWith({ AdvertiseAddr: 'nonsense', DataPathAddr: 'nonsense' }),
  initWith({ DataPathAddr: 'nonsense', DefaultAddrPool: ['nonsense'] }),
  initWith({ DefaultAddrPool: ['nonsense'], DataPathPort: 1 }),
  initWith({ DataPathPort: 1, Availability: 'nonsense' }),
  initWith({ ListenAddr: '0.0.0.0:99999' }),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'none of that made a swarm' }),
  post('/v<api>/swarm/leave'),
  post('/v<api>/swarm/leave?force=1'),
  post('/v<api>/swarm/join', {}),
  post('/v<api>/swarm/join', 'garbage'),
  post('/v<api>/swarm/join', {
    ListenAddr: listen,
    RemoteAddrs: ['192.168.60.2:2377'],
    JoinToken: 'nonsense',
  }),
  post('/v<api>/swarm/join', { ListenAddr: listen, RemoteAddrs: [], JoinToken: '' }),
  joinWith({ ListenAddr: '', RemoteAddrs: [] }),
  joinWith({ ListenAddr: 'nonsense', RemoteAddrs: [''] }),
  joinWith({ ListenAddr: 'nonsense', DataPathAddr: 'nonsense' }),
  joinWith({ AdvertiseAddr: 'nonsense' }),
  joinWith({ AdvertiseAddr: 'nonsense', DataPathAddr: 'nonsense' }),
  joinWith({ DataPathAddr: 'nonsense', Availability: 'nonsense' }),
  joinWith({ Availability: 'nonsense' }),
  post('/v<api>/swarm/init', init, { note: 'as it should be', save: { self: '' } }),
  post('/v<api>/swarm/init', init, { note: 'once more' }),
  post('/v<api>/swarm/join', { ListenAddr: listen, RemoteAddrs: ['192.168.60.2:2377'], JoinToken: 'x' }),
];

/** A number that was saved, sent as such. */
const swarmVersion = '/v<api>/swarm/update?version=<version>';
const refetched = get('/v<api>/swarm', { silent: true, save: { version: 'Version.Index' } });
const spec = {
  Name: 'default',
  Orchestration: { TaskHistoryRetentionLimit: 3 },
  Raft: {
    SnapshotInterval: 9000,
    KeepOldSnapshots: 1,
    LogEntriesForSlowFollowers: 400,
    ElectionTick: 10,
    HeartbeatTick: 1,
  },
  Dispatcher: { HeartbeatPeriod: 4_000_000_000 },
  CAConfig: { NodeCertExpiry: 8_000_000_000_000_000 },
  TaskDefaults: { LogDriver: { Name: 'json-file', Options: { 'max-size': '2m' } } },
  EncryptionConfig: { AutoLockManagers: false },
  Labels: { one: '1' },
};
const refusedUpdate = (more: object): Step =>
  post(swarmVersion, { ...spec, ...more }, { note: `update: ${JSON.stringify(more)}` });

export const updated: readonly Step[] = [
  get('/v<api>/nodes/self', { note: 'nobody is called so' }),
  get('/v<api>/nodes', { silent: true, until: managerIsReady }),
  get('/v<api>/swarm', { note: 'new' }),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'of a manager' }),
  get('/v1.24/info', { shapeOf: infoShape(), note: 'of a manager' }),
  get('/v1.38/info', { shapeOf: infoShape(), note: 'of a manager' }),
  get('/_ping', { note: 'of a manager' }),
  get('/v<api>/swarm/unlockkey', { note: 'none is set' }),
  post('/v<api>/swarm/unlock', { UnlockKey: 'SWMKEY-1-x' }, { note: 'not locked' }),
  refetched,
  post('/v<api>/swarm/update', spec, { note: 'no version' }),
  post('/v<api>/swarm/update?version=x', spec, { note: 'version x' }),
  post('/v<api>/swarm/update?version=-1', spec, { note: 'version -1' }),
  post('/v<api>/swarm/update?version=99999999999999999999', spec, { note: 'version too large' }),
  post('/v<api>/swarm/update?version=1', spec, { note: 'version of old' }),
  post(swarmVersion, 'garbage'),
  post(swarmVersion, ''),
  post(`${swarmVersion}&rotateWorkerToken=zz`, spec, { note: 'rotateWorkerToken=zz' }),
  post(`${swarmVersion}&rotateManagerToken=zz`, spec, { note: 'rotateManagerToken=zz' }),
  post(`${swarmVersion}&rotateManagerUnlockKey=zz`, spec, { note: 'rotateManagerUnlockKey=zz' }),
  refusedUpdate({ Name: '' }),
  get('/v<api>/swarm', { note: 'without a name', save: { version: 'Version.Index' } }),
  refusedUpdate({ Name: 'other' }),
  refusedUpdate({ CAConfig: { NodeCertExpiry: 1 } }),
  refusedUpdate({ CAConfig: { NodeCertExpiry: -1 } }),
  refusedUpdate({ CAConfig: { ExternalCAs: [{ Protocol: 'nonsense', URL: 'https://x' }] } }),
  refusedUpdate({ CAConfig: { ExternalCAs: [{ Protocol: 'cfssl', URL: '' }] } }),
  refetched,
  refusedUpdate({ CAConfig: { SigningCACert: 'nonsense' } }),
  refusedUpdate({ CAConfig: { SigningCACert: 'nonsense', SigningCAKey: 'nonsense' } }),
  refusedUpdate({ Dispatcher: { HeartbeatPeriod: -1 } }),
  refusedUpdate({ Orchestration: { TaskHistoryRetentionLimit: 'x' } }),
  refetched,
  post(swarmVersion, spec, { note: 'every field' }),
  get('/v<api>/swarm', { note: 'updated' }),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'updated' }),
  refetched,
  post(swarmVersion, { Name: 'default' }, { note: 'nothing but the name' }),
  get('/v<api>/swarm', { note: 'with nothing but the name', save: { before: 'JoinTokens.Worker' } }),
  refetched,
  post(`${swarmVersion}&rotateWorkerToken=true&rotateManagerToken=1`, spec, { note: 'rotate tokens' }),
  get('/v<api>/swarm', {
    note: 'rotated',
    save: { worker: 'JoinTokens.Worker', manager: 'JoinTokens.Manager' },
  }),
];

function managerIsReady(body: unknown): boolean {
  interface Shown {
    readonly Status: { readonly State: string };
    readonly ManagerStatus?: object;
  }
  const isReady = ({ Status, ManagerStatus }: Shown): boolean =>
    ManagerStatus !== undefined && Status.State === 'ready';
  return Array.isArray(body) && (body as readonly Shown[]).some(isReady);
}

const joining = (token: string): object => ({
  ListenAddr: listen,
  AdvertiseAddr: '192.168.60.2',
  RemoteAddrs: ['192.168.60.1:2377'],
  JoinToken: token,
});

export const joined: readonly Step[] = [
  ...at('node2', [
    post('/v<api>/swarm/join', joining('nonsense'), { note: 'no token' }),
    post('/v<api>/swarm/join', joining('SWMTKN-1-abc'), { note: 'half a token' }),
    post(
      '/v<api>/swarm/join',
      { ...joining('<worker>'), Availability: 'nonsense' },
      { note: 'no availability' },
    ),
    post('/v<api>/swarm/join', { ...joining('<worker>'), RemoteAddrs: ['nonsense'] }, { note: 'no address' }),
    post('/v<api>/swarm/join', { ...joining('<worker>'), ListenAddr: '' }, { note: 'no listen address' }),
    post('/v<api>/swarm/join', joining('<worker>'), { note: 'as a worker' }),
    post('/v<api>/swarm/join', joining('<worker>'), { note: 'once more' }),
    post('/v<api>/swarm/init', { ListenAddr: listen, AdvertiseAddr: '192.168.60.2' }, { note: 'in a swarm' }),
  ]),
];

export const asWorker: readonly Step[] = at('node2', [
  get('/v<api>/info', { shapeOf: infoShape(), note: 'of a worker' }),
  ...refusals,
  ...paths,
  // A worker need not be forced.
  post('/v<api>/swarm/leave', 'garbage', {
    note: 'not by force',
    headers: { 'Content-Type': 'text/plain' },
  }),
]);

/** After node1 is locked and its daemon has started again. */
export const locked: readonly Step[] = [
  refetched,
  post(swarmVersion, { ...spec, EncryptionConfig: { AutoLockManagers: true } }, { note: 'lock' }),
  get('/v<api>/swarm/unlockkey', { save: { key: 'UnlockKey' } }),
  get('/v<api>/swarm', { note: 'with a lock' }),
  get('/v<api>/info', { restart: true, silent: true, until: isLocked, note: 'restarted' }),
  ...refusals,
  get('/_ping'),
  post('/v<api>/swarm/init', init, { note: 'locked' }),
  post('/v<api>/swarm/join', joining('<worker>'), { note: 'locked' }),
  post('/v<api>/swarm/leave', undefined, { note: 'locked' }),
  post('/v<api>/swarm/unlock', { UnlockKey: 'SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }),
  post('/v<api>/swarm/unlock', { UnlockKey: '<key>' }),
  get('/v<api>/nodes', { silent: true, until: managerIsReady, note: 'unlocked' }),
  post('/v<api>/swarm/unlock', { UnlockKey: '<key>' }, { note: 'once more' }),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'unlocked' }),
];

function isLocked(body: unknown): boolean {
  return (
    (body as { readonly Swarm?: { readonly LocalNodeState?: string } }).Swarm?.LocalNodeState === 'locked'
  );
}

export const left: readonly Step[] = [
  post('/v<api>/swarm/leave'),
  post('/v<api>/swarm/leave?force=0'),
  post('/v<api>/swarm/leave?force=false'),
  post('/v<api>/swarm/leave?force=true'),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'left' }),
  // Swarm makes one and stays in it, so that nothing can follow.
  initWith({ Spec: { Name: 'default', CAConfig: { NodeCertExpiry: 1 } } }),
];
