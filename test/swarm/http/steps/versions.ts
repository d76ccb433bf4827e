/** What hangs on the version that a client speaks, or came with one that 20.10 does not have: asked by each of them. */
import { any, del, get, post } from '../step.js';
import type { Step } from '../step.js';
import { infoShape } from './everywhere.js';
import { base64, everyField, image } from './specs.js';

/** Minor versions from which on something of the swarm's is otherwise, as far as the API that is asked goes. */
const minorsUpTo = (api: number): number[] =>
  [41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51].filter((minor) => minor <= api);

/** Then nobody but the client changes it. */
const isAllocated = (body: unknown): boolean =>
  (body as { readonly Endpoint?: { readonly Ports?: unknown } }).Endpoint?.Ports !== undefined;

/** A service with every field but networks, made and updated as a client of that version does. */
const service = (minor: number): Step[] => {
  const name = `at-1-${minor}`;
  const { TaskTemplate, ...others } = everyField(name, '');
  const { Networks: _, ...template } = TaskTemplate;
  const spec = {
    ...others,
    TaskTemplate: template,
    Mode: { Replicated: { Replicas: 0 } },
    EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 31_000 + minor }] },
  };
  return [
    post(`/v1.${minor}/services/create`, spec, { note: 'every field', save: { at: 'ID' } }),
    get(`/v<api>/services/${name}`, { until: isAllocated, save: { version: 'Version.Index' } }),
    post(
      `/v1.${minor}/services/<at>/update?version=<version>`,
      { ...spec, Labels: { updated: 'yes' } },
      { note: 'every field' },
    ),
    get(`/v1.${minor}/services/${name}`, { note: 'updated' }),
    del(`/v1.${minor}/services/${name}`),
  ];
};

const job = (minor: number): Step[] => [
  post(
    `/v1.${minor}/services/create`,
    {
      Name: `job-1-${minor}`,
      TaskTemplate: {
        ContainerSpec: { Image: image },
        Placement: { Constraints: ['node.hostname==nowhere'] },
      },
      Mode: { GlobalJob: {} },
    },
    { note: 'a job' },
  ),
  get(`/v1.${minor}/services?status=true`, { filters: { name: [`job-1-${minor}`] } }),
  del(`/v1.${minor}/services/job-1-${minor}`),
];

const shapeOfContainer = [
  ...['State', 'GraphDriver', 'HostConfig', 'Config', 'Args', 'Path', 'Mounts', 'Image', 'ResolvConfPath'],
  ...['HostnamePath', 'HostsPath', 'LogPath', 'Name', 'ImageManifestDescriptor', 'Created', 'ExecIDs'],
  'NetworkSettings',
];

const read = (minor: number): Step[] => [
  get(`/v1.${minor}/_ping`),
  get(`/v1.${minor}/info`, { shapeOf: infoShape() }),
  get(`/v1.${minor}/nodes/node1`, { shapeOf: ['Description.Engine.Plugins'] }),
  get(`/v1.${minor}/swarm`),
  get(`/v1.${minor}/networks/wide`),
  get(`/v1.${minor}/networks`, { filters: { name: ['wide'] } }),
  get(`/v1.${minor}/containers/wide/json`, { shapeOf: shapeOfContainer }),
  get(`/v1.${minor}/containers/json`, { filters: { name: ['wide'] }, shapeOf: [''] }),
  get(`/v1.${minor}/volumes`, { shapeOf: [''] }),
  get(`/v1.${minor}/services/nobody/logs?stdout=1`),
  get(`/v1.${minor}/events?since=1&until=2`, { filters: { type: ['service'] } }),
];

/** A container of a user's own with what newer versions say of its places on networks. */
const placed = (minor: number, networks: readonly string[]): Step =>
  post(
    `/v1.${minor}/containers/create?name=placed`,
    {
      Image: image,
      HostConfig: { NetworkMode: networks[0] },
      NetworkingConfig: {
        EndpointsConfig: Object.fromEntries(
          networks.map((name) => [name, { Aliases: ['a'], DriverOpts: { k: 'v' } }]),
        ),
      },
    },
    { note: `on ${networks.join(' and ')}`, undo: '/containers' },
  );

const clusterVolume = {
  Name: 'everywhere',
  Driver: 'nonsense',
  ClusterVolumeSpec: { Group: 'g', AccessMode: { Scope: 'single', Sharing: 'none', MountVolume: {} } },
};

/** Volumes of the whole cluster, which Swarm has since API 1.42 for plugins of CSI. */
const volumes: readonly Step[] = [
  post('/v<api>/volumes/create', clusterVolume, { note: 'of the cluster' }),
  post('/v1.41/volumes/create', { ...clusterVolume, Name: 'older' }, { note: 'of the cluster' }),
  get('/v<api>/volumes/everywhere', { shapeOf: [''] }),
  any('PUT', '/v<api>/volumes/everywhere?version=1'),
  any('PUT', '/v<api>/volumes/nobody'),
  any('PUT', '/v<api>/volumes/nobody?version=x'),
  del('/v<api>/volumes/everywhere?force=1'),
  post('/v<api>/volumes/create', { Name: 'here' }, { shapeOf: [''] }),
  any('PUT', '/v<api>/volumes/here?version=1'),
  del('/v<api>/volumes/here'),
];

const json = JSON.stringify({ Name: 'typed', Data: base64('x') });
const typed = (type: string): Step =>
  post('/v<api>/secrets/create', json, { headers: { 'Content-Type': type }, undo: '/secrets' });

/** Newer engines want to be told that what they get is JSON. */
const contentTypes: readonly Step[] = [
  ...[
    'text/plain',
    'application/json; charset=utf-8',
    'APPLICATION/JSON',
    'a/b/c',
    'application/jsonx',
    '',
  ].map(typed),
  ...[
    '/v<api>/configs/create',
    '/v<api>/services/nobody/update?version=1',
    '/v<api>/nodes/nobody/update?version=1',
    '/v<api>/swarm/update?version=1',
    '/v<api>/swarm/unlock',
    '/v<api>/networks/create',
    '/v<api>/networks/wide/connect',
    '/v<api>/containers/create',
  ].map((path) => post(path, '{}', { headers: { 'Content-Type': 'text/plain' } })),
];

/** @param api the minor version that the script is asked by */
export const versions = (api: number): readonly Step[] => [
  post(
    '/v<api>/networks/create',
    { Name: 'wide', Driver: 'overlay', Attachable: true },
    { save: { wide: 'Id' } },
  ),
  post('/v<api>/networks/create', { Name: 'other', Driver: 'overlay', Attachable: true }),
  ...minorsUpTo(api).flatMap(service),
  ...minorsUpTo(api).flatMap(job),
  post(
    '/v<api>/containers/create?name=wide',
    {
      Image: image,
      HostConfig: { NetworkMode: 'wide' },
      NetworkingConfig: { EndpointsConfig: { wide: { Aliases: ['a'], DriverOpts: { k: 'v' } } } },
    },
    { save: { container: 'Id' }, note: 'on a network of the swarm' },
  ),
  post('/v<api>/containers/wide/start', undefined, { note: 'on a network of the swarm' }),
  ...minorsUpTo(api).flatMap(read),
  // Older ones are refused in words that name the networks in any order.
  ...minorsUpTo(api).flatMap((minor) => (minor < 44 ? [] : [placed(minor, ['wide', 'other'])])),
  placed(api, ['other']),
  post('/v<api>/networks/other/connect', { Container: 'wide', EndpointConfig: { DriverOpts: { k: 'v' } } }),
  get('/v<api>/containers/wide/json', { shapeOf: shapeOfContainer, note: 'on two' }),
  post('/v<api>/networks/other/disconnect', { Container: 'wide' }),
  del('/v<api>/containers/wide?force=1'),
  ...contentTypes,
  ...volumes,
  del('/v<api>/networks/other'),
  del('/v<api>/networks/wide'),
];
