/** Who may ask for what over TCP: every request there is, by the role it needs. */
import { describe, expect, test } from 'vitest';
import { authorizeRequest, leastRole, roleOf, roles } from '../../../src/controlplane/api/access.js';
import type { Role } from '../../../src/controlplane/api/access.js';
import { readListenSettings } from '../../../src/controlplane/api/listen-settings.js';
import { readOptions } from '../../../src/options/read.js';
import { servedRoutes } from '../../../src/controlplane/api/routes.js';

/** All that Docker's API has (v1.41 to v1.51) and Skep's own, by who may have it. A route that is served and not here fails. */
const wanted: Readonly<Record<Role, string>> = {
  'read-only': `
    GET /_ping, HEAD /_ping, GET /version, GET /info, GET /events, GET /system/df,
    GET /nodes, GET /nodes/{}, GET /services, GET /services/{}, GET /services/{}/logs,
    GET /tasks, GET /tasks/{}, GET /tasks/{}/logs, GET /secrets, GET /secrets/{}, GET /networks, GET /networks/{},
    GET /containers/json, GET /containers/{}/json, GET /containers/{}/logs, GET /containers/{}/top, GET /containers/{}/stats,
    GET /containers/{}/changes, POST /containers/{}/wait, GET /images/json, GET /images/{}/json, GET /images/a/b/c/json,
    GET /images/{}/history, GET /volumes, GET /volumes/{}`,
  operator: `
    POST /services/create, POST /services/{}/update, DELETE /services/{}, POST /secrets/create, POST /secrets/{}/update,
    DELETE /secrets/{}, GET /configs, GET /configs/{}, POST /configs/create, POST /configs/{}/update, DELETE /configs/{},
    POST /networks/create, POST /networks/prune, DELETE /networks/{}, POST /auth, GET /distribution/{}/json,
    GET /distribution/a/b/json`,
  admin: `
    GET /swarm, POST /swarm/init, POST /swarm/join, POST /swarm/leave, POST /swarm/update, GET /swarm/unlockkey, POST /swarm/unlock,
    POST /skep/backup, POST /skep/restore, POST /nodes/{}/update, DELETE /nodes/{},
    POST /networks/{}/connect, POST /networks/{}/disconnect,
    POST /containers/create, POST /containers/prune, POST /containers/{}/start, POST /containers/{}/stop, POST /containers/{}/restart,
    POST /containers/{}/kill, POST /containers/{}/update, POST /containers/{}/rename, POST /containers/{}/pause,
    POST /containers/{}/unpause, POST /containers/{}/attach, GET /containers/{}/attach/ws, POST /containers/{}/resize,
    DELETE /containers/{}, GET /containers/{}/export, HEAD /containers/{}/archive, GET /containers/{}/archive,
    PUT /containers/{}/archive, POST /containers/{}/copy, POST /containers/{}/exec, POST /exec/{}/start, POST /exec/{}/resize,
    GET /exec/{}/json, GET /containers/{}/checkpoints, POST /containers/{}/checkpoints, DELETE /containers/{}/checkpoints/{},
    POST /build, POST /build/prune, POST /build/cancel, POST /commit, POST /session, POST /grpc,
    POST /images/create, POST /images/load, POST /images/prune, GET /images/get, GET /images/{}/get, GET /images/a/b/get,
    GET /images/search, POST /images/{}/push, POST /images/{}/tag, DELETE /images/{},
    POST /volumes/create, PUT /volumes/{}, POST /volumes/prune, DELETE /volumes/{},
    GET /plugins, GET /plugins/{}/json, GET /plugins/privileges, POST /plugins/pull, POST /plugins/create, POST /plugins/{}/enable,
    POST /plugins/{}/disable, POST /plugins/{}/upgrade, POST /plugins/{}/push, POST /plugins/{}/set, DELETE /plugins/{}`,
};
const cases = roles.flatMap((role) =>
  wanted[role].split(',').map((line) => {
    const [method = '', path = ''] = line.trim().split(' ');
    return { method, path, role };
  }),
);

test.each(cases)('$method $path is for $role', ({ method, path, role }) => {
  expect(leastRole(method, path.replaceAll('{}', 'x1'))).toBe(role);
});

test('every route that is served is one of these', () => {
  const known = new Set(cases.map(({ method, path }) => `${method} ${path}`));
  expect(servedRoutes.map((route) => route.join(' ')).filter((route) => !known.has(route))).toEqual([]);
});

test.each([
  ['GET', '/containers/x%2Fattach%2Fws'],
  ['GET', '/containers/x%2F..%2F..%2Fswarm/json'],
  ['GET', '/containers/../json'],
  ['GET', '/containers//json'],
  ['GET', '//services'],
  ['GET', '/services/'],
  ['GET', '/v1.41.1/services'],
  ['GET', 'http://x/services'],
  ['GET', '/images/a/../../swarm/json'],
  ['GET', '/services/%'],
  ['get', '/services'],
  ['PATCH', '/services'],
  ['HEAD', '/services'],
])('%s %s is what no client writes, and for admins', (method, path) => {
  expect(leastRole(method, path)).toBe('admin');
});

describe('a certificate', () => {
  test.each([
    [undefined, undefined],
    ['swarm-manager', undefined],
    ['skep-root', undefined],
    ['SKEP-ADMIN', undefined],
    ['skep-read-only', 'read-only'],
    [['people', 'skep-operator'], 'operator'],
    [['skep-admin', 'skep-read-only'], 'admin'],
  ])('of units %j has role %s', (units, role) => {
    expect(roleOf(units)).toBe(role);
  });

  const client = { name: 'alice', role: 'operator' as const, validToMs: 1_000 };
  test.each([
    [client, 'POST', '/services/create', 0, undefined],
    [undefined, 'GET', '/swarm', 0, undefined],
    [client, 'GET', '/swarm', 0, 'GET /swarm is for role admin, and its certificate has role operator'],
    [client, 'GET', '/services', 1_001, 'its certificate has expired'],
    [
      { ...client, role: undefined },
      'GET',
      '/_ping',
      0,
      'its certificate names no role: one of the organizational units skep-read-only, skep-operator, skep-admin',
    ],
  ])('%j: %s %s', (who, method, path, nowMs, refusal) => {
    const ask = (): void => authorizeRequest(who, method, path, nowMs);
    if (refusal === undefined) ask();
    else expect(ask).toThrow(`access denied to "alice": ${refusal}`);
  });
});

describe('settings', () => {
  const tls = { SKEP_TLSCACERT: '/ca', SKEP_TLSCERT: '/cert', SKEP_TLSKEY: '/key' };
  const files = { ca: '/ca', cert: '/cert', key: '/key' };
  test.each([
    [{}, { tcp: [] }],
    [
      { SKEP_HOSTS: ' ', SKEP_GROUP: 'skep', ...tls },
      { tcp: [], group: 'skep' },
    ],
    [
      { SKEP_HOSTS: 'tcp://0.0.0.0', ...tls },
      { tcp: [{ host: '0.0.0.0', port: 2376 }], tls: files },
    ],
    [
      { SKEP_HOSTS: 'tcp://192.0.2.1:99, tcp://[::1]:98', ...tls },
      {
        tcp: [
          { host: '192.0.2.1', port: 99 },
          { host: '::1', port: 98 },
        ],
        tls: files,
      },
    ],
  ])('%j', (env, settings) => {
    expect(readListenSettings(readOptions(undefined, env))).toEqual(settings);
  });

  test.each([
    [{ SKEP_HOSTS: 'tcp://0.0.0.0:2375' }, '(SKEP_TLSCACERT is not set)'],
    [{ SKEP_HOSTS: 'tcp://0.0.0.0:2376', ...tls, SKEP_TLSKEY: '' }, '(SKEP_TLSKEY is not set)'],
  ])('%j is no start: TCP without TLS', (env, words) => {
    const read = (): unknown => readListenSettings(readOptions(undefined, env));
    expect(read).toThrow('nothing listens on TCP without TLS and certificates of clients');
    expect(read).toThrow(words);
  });

  test('TCP of the environment with the files of skep.toml', () => {
    const file = '[api]\ntls-ca = "/ca"\ntls-cert = "/cert"\ntls-key = "/key"\ngroup = "docker"';
    expect(readListenSettings(readOptions(file, { SKEP_HOSTS: 'tcp://192.0.2.1:99' }))).toEqual({
      tcp: [{ host: '192.0.2.1', port: 99 }],
      tls: files,
      group: 'docker',
    });
  });
});
