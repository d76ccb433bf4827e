/** Nodes, services and tasks of a swarm of one node: every endpoint, filter and field, rightly and wrongly used. */
import { any, del, get, head, post } from '../step.js';
import type { Step } from '../step.js';
import { base64, everyField, image, nobody, service, task } from './specs.js';

/** A filter's name with a value that holds and one that does not, and both forms in which filters are written. */
const filtered = (path: string, filters: Readonly<Record<string, readonly string[]>>): Step[] =>
  Object.entries(filters).flatMap(([key, values]) => [
    ...values.map((value) => get(path, { filters: { [key]: { [value]: true } } })),
    get(path, { filters: { [key]: values } }),
  ]);

const malformed = (path: string): Step[] => [
  get(`${path}?filters=`),
  get(`${path}?filters=nonsense`),
  get(`${path}?filters={`),
  get(`${path}?filters=[]`),
  get(`${path}?filters=null`),
  get(`${path}?filters=7`),
  get(`${path}?filters={"name":7}`),
  get(`${path}?filters={"name":"x"}`),
  get(`${path}?filters={"name":[7]}`),
  get(`${path}?filters={"name":{"x":7}}`),
  get(path, { filters: { nonsense: { a: true } } }),
  get(path, { filters: { NAME: { a: true } } }),
  get(path, { filters: {} }),
];

const bareNode = { Role: 'manager', Availability: 'active' };
const nodeUpdate = '/v<api>/nodes/<self>/update?version=<version>';
const refetchedNode = get('/v<api>/nodes/<self>', { silent: true, save: { version: 'Version.Index' } });
const updatedNode = (body: unknown): Step => post(nodeUpdate, body);

export const nodes: readonly Step[] = [
  get('/v<api>/nodes'),
  get('/v1.24/nodes'),
  get('/nodes'),
  get('/v<api>/nodes/<self>'),
  get('/v<api>/nodes/node1'),
  get('/v<api>/nodes/nobody'),
  get('/v<api>/nodes/%6eode1'),
  get('/v<api>/nodes/node1/'),
  ...malformed('/v<api>/nodes'),
  ...filtered('/v<api>/nodes', {
    id: ['<self>', nobody],
    name: ['node1', 'no', 'x'],
    role: ['manager', 'worker', 'nonsense', ''],
    membership: ['accepted', 'pending', 'nonsense'],
    label: ['x', 'x=y'],
    'node.label': ['rack'],
  }),
  refetchedNode,
  updatedNode(''),
  updatedNode('garbage'),
  updatedNode({}),
  updatedNode({ Role: 'manager' }),
  updatedNode({ Availability: 'active' }),
  updatedNode({ Role: 'nonsense', Availability: 'active' }),
  updatedNode({ Role: 'MANAGER', Availability: 'active' }),
  updatedNode({ Role: 'manager', Availability: 'nonsense' }),
  updatedNode({ Role: 'worker', Availability: 'active' }),
  updatedNode({ ...bareNode, Labels: { a: 1 } }),
  updatedNode({ ...bareNode, Labels: ['a'] }),
  updatedNode({ ...bareNode, Name: 7 }),
  post('/v<api>/nodes/<self>/update', bareNode, { note: 'no version' }),
  post('/v<api>/nodes/<self>/update?version=', bareNode, { note: 'empty version' }),
  post('/v<api>/nodes/<self>/update?version=x', bareNode, { note: 'version x' }),
  post('/v<api>/nodes/<self>/update?version=1.5', bareNode, { note: 'version 1.5' }),
  post('/v<api>/nodes/<self>/update?version=1', bareNode, { note: 'version of old' }),
  post('/v<api>/nodes/nobody/update?version=1', bareNode),
  refetchedNode,
  post('/v<api>/nodes/node1/update?version=<version>', {
    ...bareNode,
    Name: 'given',
    Labels: { rack: '1', e: '' },
  }),
  get('/v<api>/nodes/<self>', { note: 'updated' }),
  ...['rack=1', 'rack=2', 'rack', 'e', 'e='].map((label) =>
    get('/v<api>/nodes', { filters: { 'node.label': [label] }, note: 'with labels' }),
  ),
  get('/v<api>/nodes', { filters: { name: ['given'] } }),
  refetchedNode,
  updatedNode({ Role: 'manager', Availability: 'pause' }),
  refetchedNode,
  updatedNode({ ...bareNode, Labels: null }),
  get('/v<api>/nodes/<self>', { note: 'labels gone' }),
  del('/v<api>/nodes/<self>'),
  del('/v<api>/nodes/<self>?force=1'),
  del('/v<api>/nodes/nobody?force=true'),
];

const create = '/v<api>/services/create';
/** What is taken after all is gone before it has a task. */
const idle = { Mode: { Replicated: { Replicas: 0 } } };
const refusedSpec = (note: string, more: object): Step =>
  post(create, { ...service('refused'), ...idle, ...more }, { note: `create: ${note}`, undo: '/services' });
const refusedTask = (container: object, more: object = {}): Step =>
  refusedSpec(JSON.stringify(Object.keys(more).length === 0 ? container : more), task(container, more));
const refusedPorts = (...ports: readonly object[]): Step =>
  refusedSpec(JSON.stringify(ports), { EndpointSpec: { Ports: ports } });

/** What must be refused at creation, and by what words. */
export const refusedServices: readonly Step[] = [
  post(create),
  post(create, ''),
  post(create, 'garbage'),
  post(create, '[]'),
  post(create, 'null'),
  post(create, '{}'),
  post(create, '{"Name":"x"} trailing'),
  post(create, '{"Name":"x",}'),
  post(create, '{"Name":7}'),
  post(create, { TaskTemplate: 7 }),
  post(create, { TaskTemplate: { ContainerSpec: { Env: 'A=1' } } }),
  post(create, JSON.stringify(service('typed', idle)), {
    undo: '/services',
    headers: { 'Content-Type': 'text/plain' },
    note: 'text/plain',
  }),
  post(create, '{}', { headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, note: 'a form' }),
  refusedSpec('no task template', { TaskTemplate: {} }),
  refusedSpec('name with a space', { Name: 'a b' }),
  refusedSpec('name with a dot', { Name: 'a.b' }),
  refusedSpec('name with an underscore first', { Name: '_a' }),
  refusedSpec('name of 64', { Name: 'a'.repeat(64) }),
  refusedTask({ Image: '' }),
  refusedTask({ Image: 'UPPER' }),
  refusedTask({ Image: 'a:b:c' }),
  refusedTask({ Image: 'a@sha256:short' }),
  refusedTask({ Mounts: [{ Type: 'nonsense', Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'bind', Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'bind', Source: 'relative', Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'volume', Source: 'v' }] }),
  refusedTask({ Mounts: [{ Type: 'volume', Target: 'relative' }] }),
  refusedTask({ Mounts: [{ Type: 'tmpfs', Source: 'v', Target: '/a' }] }),
  refusedTask({
    Mounts: [
      { Type: 'volume', Target: '/a' },
      { Type: 'tmpfs', Target: '/a' },
    ],
  }),
  refusedTask({ Mounts: [{ Target: '/a' }] }),
  refusedTask({ Healthcheck: { Interval: 1 } }),
  refusedTask({ Healthcheck: { Timeout: 1 } }),
  refusedTask({ Healthcheck: { StartPeriod: 1 } }),
  refusedTask({ Healthcheck: { Retries: -1 } }),
  refusedTask({ Env: ['A={{.Nonsense}}'] }),
  refusedTask({ Env: ['A={{'] }),
  refusedTask({ Hostname: '{{.Nonsense}}' }),
  refusedTask({ Isolation: 'nonsense' }),
  refusedTask({ StopGracePeriod: 'x' }),
  refusedTask({ Mounts: [{ Type: 'image', Source: image, Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'cluster', Source: 'v', Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'npipe', Source: 'v', Target: '/a' }] }),
  refusedTask({ Mounts: [{ Type: 'volume', Target: '/a', BindOptions: { CreateMountpoint: true } }] }),
  refusedTask({
    Mounts: [{ Type: 'bind', Source: '/a', Target: '/a', BindOptions: { ReadOnlyForceRecursive: true } }],
  }),
  refusedTask({ Mounts: [{ Type: 'volume', Target: '/a', VolumeOptions: { Subpath: '../x' } }] }),
  refusedTask({ Mounts: [{ Type: 'tmpfs', Target: '/a', TmpfsOptions: { Options: [['a', 'b', 'c']] } }] }),
  refusedTask({ Mounts: [{ Type: 'tmpfs', Target: '/a', TmpfsOptions: { Options: ['a'] } }] }),
  refusedTask({ Healthcheck: { StartInterval: 1 } }),
  refusedTask({ Privileges: { Seccomp: { Mode: 'nonsense' } } }),
  refusedTask({ Privileges: { Seccomp: { Mode: 'custom' } } }),
  refusedTask({ Privileges: { Seccomp: { Mode: 'custom', Profile: base64('{}') } } }),
  refusedTask({ Privileges: { Seccomp: { Mode: 'custom', Profile: base64('nonsense') } } }),
  refusedTask({ Privileges: { Seccomp: { Mode: 'default', Profile: base64('{}') } } }),
  refusedTask({ Privileges: { AppArmor: { Mode: 'nonsense' } } }),
  refusedTask({ Privileges: { NoNewPrivileges: 'x' } }),
  refusedTask({ OomScoreAdj: 2000 }),
  refusedTask({ OomScoreAdj: 'x' }),
  refusedTask({ Ulimits: [{ Name: 'nonsense', Hard: 1, Soft: 2 }] }),
  refusedTask({ CapabilityAdd: ['nonsense'], CapabilityDrop: ['nonsense'] }),
  refusedTask({ Sysctls: { a: 1 } }),
  refusedTask({ Hosts: [7] }),
  refusedTask({
    Secrets: [{ File: { Name: 'a', UID: '0', GID: '0', Mode: 292 }, SecretID: nobody, SecretName: 'a' }],
  }),
  refusedTask({ Secrets: [{ SecretID: nobody, SecretName: 'a' }] }),
  refusedTask({ Secrets: [{ File: { Name: 'a' }, SecretID: '', SecretName: '' }] }),
  refusedTask({
    Configs: [{ File: { Name: 'a', UID: '0', GID: '0', Mode: 292 }, ConfigID: nobody, ConfigName: 'a' }],
  }),
  refusedTask({ Configs: [{ ConfigID: nobody, ConfigName: 'a' }] }),
  refusedTask({ Privileges: { CredentialSpec: { File: 'a', Registry: 'b' } } }),
  refusedTask({ Privileges: { CredentialSpec: {} } }),
  refusedTask({}, { Resources: { Limits: { NanoCPUs: 1 } } }),
  refusedTask({}, { Resources: { Limits: { MemoryBytes: 1 } } }),
  refusedTask({}, { Resources: { Limits: { NanoCPUs: -1 } } }),
  refusedTask({}, { Resources: { Limits: { NanoCPUs: 'x' } } }),
  refusedTask({}, { Resources: { Reservations: { NanoCPUs: 1 } } }),
  refusedTask({}, { Resources: { Reservations: { MemoryBytes: 1 } } }),
  refusedTask(
    {},
    {
      Resources: {
        Reservations: { GenericResources: [{ NamedResourceSpec: { Kind: 'card', Value: 'one' } }] },
      },
    },
  ),
  refusedTask({}, { Resources: { Limits: { Pids: -1 } } }),
  refusedTask({}, { Resources: { SwapBytes: 1, MemorySwappiness: 200 } }),
  refusedTask({}, { RestartPolicy: { Condition: 'nonsense' } }),
  refusedTask({}, { RestartPolicy: { Delay: -1 } }),
  refusedTask({}, { RestartPolicy: { Window: -1 } }),
  refusedTask({}, { RestartPolicy: { MaxAttempts: -1 } }),
  refusedTask({}, { Placement: { Constraints: ['nonsense'] } }),
  refusedTask({}, { Placement: { Constraints: ['node.nonsense==1'] } }),
  refusedTask({}, { Placement: { Constraints: ['node.id=='] } }),
  refusedTask({}, { Networks: [{ Target: 'nobody' }] }),
  refusedTask({}, { Networks: [{ Target: '' }] }),
  refusedTask({}, { Networks: [{ Target: 'ingress' }] }),
  refusedTask({}, { Networks: [{ Target: 'bridge' }] }),
  refusedTask({}, { Networks: [{ Target: 'host' }] }),
  refusedTask({}, { Runtime: 'nonsense' }),
  refusedTask({}, { Runtime: 'attachment' }),
  refusedTask({}, { Runtime: 'plugin' }),
  refusedTask({}, { ForceUpdate: -1 }),
  refusedTask({}, { PluginSpec: { Name: 'x', Remote: 'y' } }),
  refusedSpec('only a PluginSpec', { TaskTemplate: { PluginSpec: { Name: 'x', Remote: 'y' } } }),
  refusedSpec('only a NetworkAttachmentSpec', {
    TaskTemplate: { Runtime: 'attachment', NetworkAttachmentSpec: { ContainerID: 'x' } },
  }),
  refusedSpec('two modes', { Mode: { Replicated: {}, Global: {} } }),
  refusedSpec('negative replicas', { Mode: { Replicated: { Replicas: -1 } } }),
  refusedSpec('job with an update config', { Mode: { ReplicatedJob: {} }, UpdateConfig: {} }),
  refusedSpec('job that restarts always', {
    Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 0 } },
    TaskTemplate: { ContainerSpec: { Image: image }, RestartPolicy: { Condition: 'any' } },
  }),
  refusedSpec('update: action', { UpdateConfig: { FailureAction: 'nonsense' } }),
  refusedSpec('update: order', { UpdateConfig: { Order: 'nonsense' } }),
  refusedSpec('update: ratio', { UpdateConfig: { MaxFailureRatio: 2 } }),
  refusedSpec('update: delay', { UpdateConfig: { Delay: -1 } }),
  refusedSpec('update: monitor', { UpdateConfig: { Monitor: -1 } }),
  refusedSpec('rollback: action', { RollbackConfig: { FailureAction: 'rollback' } }),
  refusedSpec('rollback: ratio', { RollbackConfig: { MaxFailureRatio: -1 } }),
  refusedSpec('rollback: delay', { RollbackConfig: { Delay: -1 } }),
  refusedSpec('rollback: monitor', { RollbackConfig: { Monitor: -1 } }),
  refusedSpec('endpoint mode', { EndpointSpec: { Mode: 'nonsense' } }),
  refusedSpec('dnsrr with ingress ports', { EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] } }),
  refusedPorts({ TargetPort: 80, PublishedPort: 81 }, { TargetPort: 90, PublishedPort: 81 }),
  refusedPorts({ TargetPort: 'x' }),
  refusedSpec('networks that are not there', { Networks: [{ Target: 'nobody' }] }),
];

/** Minor versions that lack fields which the next ones have. */
const olderVersions = [24, 29, 36, 39, 40];

/** Services that are made, and stay until the end. */
export const madeServices: readonly Step[] = [
  post('/v<api>/networks/create', { Name: 'over', Driver: 'overlay' }, { save: { over: 'Id' } }),
  post(create, service('web'), { note: 'the least', save: { web: 'ID' } }),
  post(create, service('web'), { note: 'the name is taken' }),
  post(
    create,
    {
      ...service(''),
      TaskTemplate: { ContainerSpec: { Image: image }, Placement: { Constraints: ['node.id==x'] } },
    },
    { note: 'no name', save: { unnamed: 'ID' } },
  ),
  del('/v<api>/services/<unnamed>', { note: 'the one without a name' }),
  post(create, everyField('full', '<over>'), { note: 'every field', save: { full: 'ID' } }),
  ...olderVersions.map((minor) =>
    post(`/v1.${minor}/services/create`, everyField(`full-1-${minor}`, '<over>', 30_000 + minor), {
      note: 'every field',
    }),
  ),
  post(
    create,
    {
      Name: 'global',
      TaskTemplate: {
        ContainerSpec: { Image: image },
        Placement: { Constraints: ['node.hostname==nowhere'] },
      },
      Mode: { Global: {} },
      Labels: { kind: 'g' },
    },
    { note: 'global', save: { global: 'ID' } },
  ),
  post(
    create,
    {
      Name: 'job',
      TaskTemplate: {
        ContainerSpec: { Image: image, Command: ['true'] },
        RestartPolicy: { Condition: 'none' },
      },
      Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 2 } },
    },
    { note: 'job', save: { job: 'ID' } },
  ),
  post(
    create,
    {
      Name: 'global-job',
      TaskTemplate: {
        ContainerSpec: { Image: image, Command: ['true'] },
        RestartPolicy: { Condition: 'none' },
      },
      Mode: { GlobalJob: {} },
    },
    { note: 'global job', save: { 'global-job': 'ID' } },
  ),
  post(
    create,
    {
      Name: 'published',
      TaskTemplate: { ContainerSpec: { Image: image } },
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
    },
    { note: 'published', save: { published: 'ID' } },
  ),
  post(
    create,
    {
      Name: 'taken',
      TaskTemplate: { ContainerSpec: { Image: image } },
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] },
    },
    { note: 'a port that is taken' },
  ),
  post(
    create,
    {
      Name: 'empties',
      TaskTemplate: {
        ContainerSpec: {
          Image: image,
          Labels: {},
          Command: [],
          Args: [],
          Env: [],
          Groups: [],
          Mounts: [],
          Hosts: [],
          DNSConfig: {},
          Healthcheck: {},
          Privileges: {},
          Secrets: [],
          Configs: [],
          Sysctls: {},
          CapabilityAdd: [],
          Ulimits: [],
        },
        Resources: { Limits: {}, Reservations: {} },
        RestartPolicy: {},
        Placement: { Constraints: [], Preferences: [], Platforms: [] },
        Networks: [],
        LogDriver: {},
      },
      Mode: { Replicated: { Replicas: 0 } },
      UpdateConfig: {},
      RollbackConfig: {},
      Networks: [],
      EndpointSpec: { Ports: [] },
      Labels: {},
    },
    { note: 'everything empty', save: { empties: 'ID' } },
  ),
];

const running =
  (count: number) =>
  (body: unknown): boolean => {
    const tasks = body as { readonly Status: { readonly State: string } }[];
    return (
      Array.isArray(tasks) &&
      tasks.length === count &&
      tasks.every(({ Status }) => Status.State === 'running')
    );
  };
const complete =
  (count: number) =>
  (body: unknown): boolean => {
    const tasks = body as { readonly Status: { readonly State: string } }[];
    return (
      Array.isArray(tasks) &&
      tasks.length === count &&
      tasks.every(({ Status }) => Status.State === 'complete')
    );
  };
const pending = (body: unknown): boolean => {
  const tasks = body as { readonly Status: { readonly State: string; readonly Err?: string } }[];
  return (
    Array.isArray(tasks) &&
    tasks.length > 0 &&
    tasks.every(({ Status }) => Status.State === 'pending' && Status.Err !== undefined)
  );
};

const update = '/v<api>/services/<web>/update?version=<version>';
const refetched = get('/v<api>/services/<web>', { silent: true, save: { version: 'Version.Index' } });
const updatedWeb = (note: string, more: object, query = ''): Step =>
  post(`${update}${query}`, { ...service('web'), ...more }, { note });

export const services: readonly Step[] = [
  get('/v<api>/tasks', {
    filters: { service: ['web'] },
    until: running(1),
    note: 'running',
    save: { task: '0.ID' },
  }),
  get('/v<api>/tasks', { filters: { service: ['published'] }, until: running(1), note: 'published' }),
  get('/v<api>/tasks', { filters: { service: ['full'] }, until: pending, note: 'pending' }),
  get('/v<api>/tasks', { filters: { service: ['job'] }, until: complete(2), note: 'complete' }),
  get('/v<api>/tasks', { filters: { service: ['global-job'] }, until: complete(1), note: 'complete' }),
  ...[
    'web',
    'full',
    'global',
    'job',
    'global-job',
    'published',
    'empties',
    ...olderVersions.map((minor) => `full-1-${minor}`),
  ].map((name) => get(`/v<api>/services/${name}`)),
  ...['web', 'full', 'job', 'empties'].map((name) => get(`/v<api>/services/${name}?insertDefaults=true`)),
  get('/v1.24/services/web?insertDefaults=true'),
  get('/v<api>/services/<web>?insertDefaults=zzz'),
  get('/v<api>/services/nobody'),
  get('/v<api>/services/'),
  head('/v<api>/services/web'),
  get('/v<api>/services'),
  get('/v<api>/services?status=true'),
  get('/v<api>/services?status=zzz'),
  get('/v<api>/services?status='),
  get('/v1.40/services?status=true'),
  get('/v1.24/services'),
  ...malformed('/v<api>/services'),
  ...filtered('/v<api>/services', {
    id: ['<web>', nobody],
    name: ['web', 'we', 'x', 'full'],
    label: ['kind'],
    mode: ['replicated', 'global', 'replicated-job', 'global-job', 'nonsense'],
    runtime: ['container', 'plugin', 'nonsense'],
  }),
  ...['kind=g', 'kind=x'].map((label) => get('/v<api>/services', { filters: { label: [label] } })),
  get('/v<api>/services', { filters: { label: ['kind', 'a'] }, note: 'both labels' }),
  refetched,
  post('/v<api>/services/<web>/update', service('web'), { note: 'no version' }),
  post('/v<api>/services/<web>/update?version=x', service('web'), { note: 'version x' }),
  post('/v<api>/services/<web>/update?version=1', service('web'), { note: 'version of old' }),
  post('/v<api>/services/nobody/update?version=1', service('nobody'), { note: 'nobody' }),
  post(update, 'garbage'),
  post(update, '{}'),
  updatedWeb('renamed', { Name: 'other' }),
  updatedWeb('another mode', { Mode: { Global: {} } }),
  updatedWeb('rollback of nothing', {}, '&rollback=previous'),
  updatedWeb('rollback=nonsense', {}, '&rollback=nonsense'),
  updatedWeb('registryAuthFrom=nonsense', {}, '&registryAuthFrom=nonsense'),
  updatedWeb('registryAuthFrom=previous-spec', {}, '&registryAuthFrom=previous-spec'),
  updatedWeb('a port that is taken', { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } }),
  updatedWeb('a network that is not there', { Networks: [{ Target: 'nobody' }] }),
  updatedWeb('labels', { Labels: { new: 'yes' } }),
  get('/v<api>/services/web', { note: 'with labels' }),
  updatedWeb('the same version once more', { Labels: { new: 'yes' } }),
  refetched,
  post('/v1.29/services/<web>/update?version=<version>', service('web', { Labels: { new: 'yes' } }), {
    note: 'by a client that cannot ask for a digest',
  }),
  refetched,
  updatedWeb('rolled back', {}, '&rollback=previous'),
  get('/v<api>/services/web', {
    note: 'rolled back',
    until: (body) =>
      (body as { readonly UpdateStatus?: { readonly State: string } }).UpdateStatus?.State ===
      'rollback_completed',
  }),
  refetched,
  post(
    update,
    {
      ...service('web'),
      TaskTemplate: { ContainerSpec: { Image: image, Env: ['A=1'] } },
      UpdateConfig: { Parallelism: 1, Monitor: 1 },
    },
    { note: 'updated', headers: { 'X-Registry-Auth': base64('{"username":"a","password":"b"}') } },
  ),
  get('/v<api>/services/web', {
    note: 'updated',
    until: (body) =>
      (body as { readonly UpdateStatus?: { readonly State: string } }).UpdateStatus?.State === 'completed',
  }),
];

export const tasks: readonly Step[] = [
  get('/v<api>/tasks/<task>', {
    note: 'replaced',
    until: (body) => (body as { readonly Status: { readonly State: string } }).Status.State === 'shutdown',
  }),
  get('/v<api>/tasks', {
    filters: { service: ['web'], 'desired-state': ['running'] },
    silent: true,
    until: running(1),
    save: { task: '0.ID', container: '0.Status.ContainerStatus.ContainerID' },
    note: 'the new one',
  }),
  get('/v<api>/tasks/<task>'),
  get('/v1.24/tasks/<task>'),
  get('/v<api>/tasks/web.1.<task>'),
  get('/v<api>/tasks/web.1'),
  get('/v<api>/tasks/nobody'),
  get('/v<api>/tasks/'),
  ...malformed('/v<api>/tasks'),
  ...filtered('/v<api>/tasks', {
    id: ['<task>', nobody],
    name: ['web.1', 'web', 'x'],
    service: ['web', '<web>'],
    node: ['node1', '<self>'],
    label: ['kind'],
    'desired-state': ['running', 'shutdown', 'accepted', 'nonsense', 'RUNNING', 'complete', 'remove'],
    runtime: ['container', 'attachment', 'plugin'],
    '_up-to-date': ['true', 'false'],
  }),
  ...['self', 'nobody'].map((node) => get('/v<api>/tasks', { filters: { node: [node] } })),
  get('/v<api>/tasks', { filters: { service: ['nobody'] } }),
  get('/v<api>/tasks/<task>/logs'),
  get('/v<api>/tasks/nobody/logs?stdout=1'),
  get('/v<api>/tasks/<task>/logs?stdout=1&tail=zzz'),
  get('/v<api>/tasks/<task>/logs?stdout=1&tail=-1'),
  get('/v<api>/tasks/<task>/logs?stdout=1&since=zzz'),
  get('/v<api>/services/web/logs'),
  get('/v<api>/services/web/logs?stdout=0'),
  get('/v<api>/services/nobody/logs?stdout=1'),
  get('/v<api>/services/web/logs?stdout=1&tail=zzz'),
  get('/v<api>/services/web/logs?stdout=1&since=zzz'),
  get('/v<api>/services/web/logs?stdout=1&stderr=1&tail=0'),
  get('/v1.28/services/web/logs?stdout=1'),
  get('/v1.41/services/web/logs?stdout=1&tail=0'),
];

export const removed: readonly Step[] = [
  del('/v<api>/services/nobody'),
  any('DELETE', '/v<api>/networks/over', { note: 'in use' }),
  ...['web', 'published', 'job', 'global-job', 'global', 'empties', 'full'].map((name) =>
    del(`/v<api>/services/${name}`),
  ),
  del('/v<api>/services/<web>', { note: 'removed already' }),
  ...olderVersions.map((minor) => del(`/v<api>/services/full-1-${minor}`)),
  get('/v<api>/services', { note: 'none left' }),
];
