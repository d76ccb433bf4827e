/** Secrets, configs, networks, and what the engine answers with the swarm's in it. */
import { any, del, get, head, post } from '../step.js';
import type { Step } from '../step.js';
import { infoShape } from './everywhere.js';
import { base64, image, nobody, task } from './specs.js';

const data = (kind: 'secret' | 'config'): Step[] => {
  const path = `/v<api>/${kind}s`;
  const oldest = kind === 'secret' ? '1.25' : '1.30';
  const made = { Name: 'one', Labels: { a: '1' }, Data: base64('content') };
  const refetched = get(`${path}/one`, { silent: true, save: { version: 'Version.Index' } });
  const update = `${path}/one/update?version=<version>`;
  return [
    get(path, { note: 'none' }),
    get(`/v1.24/${kind}s`),
    post(`/v1.24/${kind}s/create`, made),
    post(`${path}/create`),
    post(`${path}/create`, ''),
    post(`${path}/create`, 'garbage'),
    post(`${path}/create`, '[]'),
    post(`${path}/create`, { Name: '', Data: base64('x') }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'a b', Data: base64('x') }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'a/b', Data: base64('x') }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: '-a', Data: base64('x') }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'a.b_c-d', Data: base64('x') }, { save: { dotted: 'ID' } }),
    post(`${path}/create`, { Name: 'a'.repeat(65), Data: base64('x') }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'x', Data: '' }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'x' }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'x', Data: '***' }, { undo: `/${kind}s` }),
    post(`${path}/create`, { Name: 'x', Data: 7 }, { undo: `/${kind}s` }),
    post(
      `${path}/create`,
      { Name: 'x', Data: base64('x'.repeat(1_100_000)) },
      { note: 'too large', undo: `/${kind}s` },
    ),
    post(`${path}/create`, { Name: 'x', Data: base64('x'), Labels: { a: 1 } }, { undo: `/${kind}s` }),
    post(
      `${path}/create`,
      { Name: 'x', Data: base64('x'), Labels: { 'com.docker.swarm.x': '1' } },
      { undo: `/${kind}s` },
    ),
    post(
      `/v1.36/${kind}s/create`,
      { Name: 'x', Data: base64('x'), Templating: { Name: 'golang' } },
      { undo: `/${kind}s` },
    ),
    post(
      `${path}/create`,
      { Name: 'templated', Data: base64('x'), Templating: { Name: 'golang', Options: { a: '1' } } },
      { save: { templated: 'ID' } },
    ),
    ...(kind === 'secret'
      ? [
          post(`${path}/create`, { Name: 'x', Driver: { Name: 'nonsense' }, Data: base64('x') }),
          post(`${path}/create`, { Name: 'x', Driver: { Name: 'nonsense', Options: { a: '1' } } }),
        ]
      : []),
    post(`/v${oldest}/${kind}s/create`, made, { save: { one: 'ID' } }),
    post(`${path}/create`, made, { note: 'the name is taken' }),
    post(
      `${path}/create`,
      { ...made, Name: 'ONE' },
      { note: 'the name in other letters', undo: `/${kind}s` },
    ),
    get(`${path}/one`),
    get(`${path}/<one>`),
    get(`/v1.36/${kind}s/templated`),
    get(`${path}/templated`),
    get(`${path}/nobody`),
    get(`${path}/`),
    head(`${path}/one`),
    get(path),
    ...[
      { id: ['<one>'] },
      { id: [nobody] },
      { name: ['one'] },
      { name: ['o'] },
      { name: ['x'] },
      { names: ['one'] },
      { names: ['o'] },
      { label: ['a'] },
      { label: ['a=1'] },
      { label: ['a=2'] },
      { nonsense: ['a'] },
      { name: { one: true } },
    ].map((filters) => get(path, { filters })),
    get(`${path}?filters=nonsense`),
    refetched,
    post(`${path}/one/update`, made),
    post(`${path}/one/update?version=x`, made),
    post(`${path}/one/update?version=1`, made),
    post(`${path}/nobody/update?version=1`, made),
    post(update, 'garbage'),
    post(update, { ...made, Data: base64('other') }, { note: 'other content' }),
    post(update, { ...made, Name: 'other' }, { note: 'another name' }),
    post(update, { Name: 'one', Labels: { b: '2' } }, { note: 'labels' }),
    get(`${path}/one`, { note: 'updated' }),
    post(update, { Name: 'one', Labels: { b: '2' } }, { note: 'the same version once more' }),
    refetched,
    post(update, { ...made, Labels: null }, { note: 'no labels, the same content' }),
    get(`${path}/one`, { note: 'without labels' }),
    post(
      '/v<api>/services/create',
      {
        Name: `uses-${kind}`,
        ...task({
          [kind === 'secret' ? 'Secrets' : 'Configs']: [
            {
              File: { Name: 'f', UID: '1', GID: '2', Mode: 256 },
              [kind === 'secret' ? 'SecretID' : 'ConfigID']: '<one>',
              [kind === 'secret' ? 'SecretName' : 'ConfigName']: 'one',
            },
          ],
        }),
        Mode: { Replicated: { Replicas: 0 } },
      },
      { note: `uses the ${kind}` },
    ),
    get(`/v<api>/services/uses-${kind}`),
    post(
      '/v<api>/services/create',
      {
        Name: 'refused',
        ...task({
          [kind === 'secret' ? 'Secrets' : 'Configs']: [
            {
              File: { Name: 'f', UID: '1', GID: '2', Mode: 256 },
              [kind === 'secret' ? 'SecretID' : 'ConfigID']: '<one>',
              [kind === 'secret' ? 'SecretName' : 'ConfigName']: 'other',
            },
          ],
        }),
      },
      { note: `uses the ${kind} by another name`, undo: '/services' },
    ),
    post(
      '/v<api>/services/create',
      {
        Name: 'refused',
        ...task({
          [kind === 'secret' ? 'Secrets' : 'Configs']: ['one', 'templated'].map((name) => ({
            File: { Name: 'f', UID: '1', GID: '2', Mode: 256 },
            [kind === 'secret' ? 'SecretID' : 'ConfigID']: `<${name}>`,
            [kind === 'secret' ? 'SecretName' : 'ConfigName']: name,
          })),
        }),
      },
      { note: `two ${kind}s in one file`, undo: '/services' },
    ),
    del(`${path}/one`, { note: 'in use' }),
    del(`/v<api>/services/uses-${kind}`),
    del(`${path}/one`),
    del(`${path}/one`, { note: 'removed already' }),
    del(`${path}/<templated>`),
    del(`${path}/a.b_c-d`),
    del(`${path}/nobody`),
  ];
};

export const secrets: readonly Step[] = data('secret');
export const configs: readonly Step[] = data('config');

const refusedNetwork = (more: object): Step =>
  post('/v<api>/networks/create', { Name: 'refused', Driver: 'overlay', ...more }, { undo: '/networks' });
const ipam = (...configs: readonly object[]): object => ({ IPAM: { Driver: 'default', Config: configs } });

export const networks: readonly Step[] = [
  post('/v<api>/networks/create'),
  post('/v<api>/networks/create', ''),
  post('/v<api>/networks/create', 'garbage'),
  post('/v<api>/networks/create', '{}'),
  post('/v<api>/networks/create', { Driver: 'overlay' }),
  refusedNetwork({ Name: '' }),
  refusedNetwork({ Name: 'a b' }),
  refusedNetwork({ Name: 'bridge' }),
  refusedNetwork({ Name: 'host' }),
  refusedNetwork({ Name: 'ingress' }),
  refusedNetwork({ Driver: 'nonsense' }),
  refusedNetwork({ Scope: 'local' }),
  refusedNetwork({ Scope: 'nonsense' }),
  refusedNetwork({ Ingress: true }),
  refusedNetwork({ Ingress: true, Attachable: true }),
  refusedNetwork(ipam({ Subnet: 'nonsense' })),
  refusedNetwork(ipam({ Subnet: '10.9.0.0/24', Gateway: 'nonsense' })),
  refusedNetwork(ipam({ Subnet: '10.9.0.0/24', Gateway: '10.8.0.1' })),
  refusedNetwork({ IPAM: { Driver: 'nonsense' } }),
  refusedNetwork({ ConfigOnly: true }),
  refusedNetwork({ ConfigFrom: { Network: 'nobody' } }),
  refusedNetwork({ Labels: { a: 1 } }),
  post(
    '/v<api>/networks/create',
    { Name: 'plain', Driver: 'overlay', Attachable: true, Labels: { a: '1' } },
    { save: { plain: 'Id' } },
  ),
  post('/v<api>/networks/create', { Name: 'plain', Driver: 'overlay' }, { note: 'the name is taken' }),
  post(
    '/v<api>/networks/create',
    { Name: 'PLAIN', Driver: 'overlay' },
    { note: 'the name in other letters' },
  ),
  post(
    '/v<api>/networks/create',
    {
      Name: 'whole',
      Driver: 'overlay',
      Internal: true,
      CheckDuplicate: true,
      EnableIPv6: false,
      Options: { 'com.docker.network.driver.mtu': '1400' },
      Labels: { b: '2' },
      ...ipam({
        Subnet: '10.77.0.0/24',
        Gateway: '10.77.0.1',
        IPRange: '10.77.0.128/25',
        AuxiliaryAddresses: { x: '10.77.0.9' },
      }),
    },
    { save: { whole: 'Id' } },
  ),
  post(
    '/v<api>/networks/create',
    { Name: 'inswarm', Driver: 'bridge', Scope: 'swarm' },
    { save: { inswarm: 'Id' } },
  ),
  ...['plain', '<plain>', 'whole', 'inswarm', 'ingress', 'nobody', 'host'].map((name) =>
    get(`/v<api>/networks/${name}`, {
      until: (body) => (body as { readonly Driver?: string }).Driver !== '',
    }),
  ),
  get('/v<api>/networks/plain?verbose=true'),
  get('/v<api>/networks/plain?verbose=zzz'),
  get('/v<api>/networks/plain?scope=swarm'),
  get('/v<api>/networks/plain?scope=local'),
  get('/v<api>/networks/plain?scope=nonsense'),
  get('/v1.24/networks/plain'),
  get('/v1.30/networks/plain?scope=local'),
  head('/v<api>/networks/plain'),
  ...[
    { name: ['plain'] },
    { name: ['pla'] },
    { name: ['ingress'] },
    { id: ['<plain>'] },
    { driver: ['overlay'] },
    { label: ['a'] },
    { label: ['a=1'] },
    { label: ['a=2'] },
    { scope: ['swarm'] },
    { scope: ['nonsense'] },
    { type: ['nonsense'] },
    { type: ['custom'], driver: ['overlay'] },
    { dangling: ['true'], driver: ['overlay'] },
    { dangling: ['zzz'] },
    { nonsense: ['a'] },
  ].map((filters) => get('/v<api>/networks', { filters })),
  get('/v<api>/networks?filters=nonsense'),
  get('/v<api>/networks', { shapeOf: [''], note: 'all' }),
  post('/v<api>/networks/nobody/connect', { Container: 'nobody' }),
  post('/v<api>/networks/whole/connect', { Container: 'nobody' }),
  post('/v<api>/networks/plain/connect', { Container: 'nobody' }),
  post('/v<api>/networks/plain/connect', 'garbage'),
  post('/v<api>/networks/plain/disconnect', { Container: 'nobody' }),
  post('/v<api>/networks/nobody/disconnect', { Container: 'nobody' }),
  post('/v<api>/networks/plain/disconnect', { Container: 'nobody', Force: true }),
  post('/v<api>/networks/plain/disconnect', 'garbage'),
  post('/v<api>/networks/plain/disconnect', ''),
  post('/v<api>/networks/prune?filters={"label":["nobody"]}', undefined),
  post('/v<api>/networks/prune?filters={"nonsense":["a"]}', undefined),
  del('/v<api>/networks/nobody'),
  del('/v<api>/networks/bridge'),
  del('/v<api>/networks/plain'),
  del('/v<api>/networks/<whole>'),
  del('/v<api>/networks/inswarm'),
  del('/v<api>/networks/plain', { note: 'removed already' }),
];

/** Of a node with a running task, whose container is `<container>`. */
export const engine: readonly Step[] = [
  get('/v<api>/version', {
    shapeOf: ['Components', 'KernelVersion', 'BuildTime', 'GitCommit', 'GoVersion', 'Version'],
  }),
  get('/v<api>/info', { shapeOf: infoShape(), note: 'with tasks' }),
  get('/v<api>/system/df', { shapeOf: [''] }),
  get('/v<api>/system/df?type=nonsense', { shapeOf: [''] }),
  get('/v<api>/system/df?type=container', { shapeOf: [''] }),
  get('/v<api>/containers/json', { shapeOf: [''], filters: { 'is-task': ['true'], id: ['<container>'] } }),
  get('/v<api>/containers/json', { shapeOf: [''], filters: { 'is-task': ['false'] } }),
  get('/v<api>/containers/<container>/json', { shapeOf: [''] }),
  get('/v<api>/containers/<container>/top', { shapeOf: ['Processes'] }),
  get('/v<api>/containers/<task>/json'),
  get('/v<api>/containers/<task>/logs?stdout=1'),
  get('/v<api>/containers/<container>/logs'),
  post('/v<api>/containers/<container>/exec', { Cmd: ['true'] }, { save: { exec: 'Id' } }),
  get('/v<api>/exec/<exec>/json', { shapeOf: [''] }),
  post('/v<api>/exec/<exec>/start', { Detach: true }),
  post('/v<api>/containers/<task>/exec', { Cmd: ['true'] }),
  post('/v<api>/containers/create?name=plain', { Image: image }, { save: { plain: 'Id' } }),
  del('/v<api>/containers/plain'),
  post(
    '/v<api>/containers/create',
    { Image: image, HostConfig: { NetworkMode: 'over' } },
    { note: 'on a network that is not attachable', save: { refused: 'Id' } },
  ),
  post('/v<api>/containers/<refused>/start', undefined, { note: 'on a network that is not attachable' }),
  del('/v<api>/containers/<refused>', { note: 'on a network that is not attachable' }),
  get('/v<api>/volumes', { shapeOf: [''] }),
  get('/v<api>/distribution/nonsense.invalid/x:y/json', { shapeOf: [''] }),
  get('/v<api>/distribution/UPPER/json'),
  post(
    '/v<api>/auth',
    { username: 'a', password: 'b', serveraddress: 'nonsense.invalid' },
    { shapeOf: [''] },
  ),
  post('/v<api>/auth', 'garbage'),
  get('/v<api>/images/skep/whoami:lab/json', { shapeOf: [''] }),
  get('/v<api>/events?since=1&until=2'),
  get('/v<api>/events?since=zzz'),
  get('/v<api>/events?until=zzz'),
  get('/v<api>/events?since=1&until=2', { filters: { scope: ['swarm'], type: ['service'] } }),
  get('/v<api>/events?since=1&until=2', { filters: { nonsense: ['a'] } }),
  get('/v<api>/events?since=1&until=2&filters=nonsense'),
  get('/v1.24/events?since=1&until=2'),
  any('PUT', '/v<api>/volumes/nobody?version=1'),
  any('POST', '/v<api>/session'),
];
