/** Bodies that the script sends. */

export const image = 'skep/whoami:lab';

/** A service of one task on node1, or with what `more` says. */
export const service = (name: string, more: Readonly<Record<string, unknown>> = {}): object => ({
  Name: name,
  TaskTemplate: { ContainerSpec: { Image: image } },
  ...more,
});

export const task = (container: object, more: object = {}): object => ({
  TaskTemplate: { ContainerSpec: { Image: image, ...container }, ...more },
});

/** Every field that a spec of API 1.51 has, each other than its default. No node can run it. */
export const everyField = (name: string, networkId: string, publishedPort = 30_080) => ({
  Name: name,
  Labels: { a: '1', b: '' },
  TaskTemplate: {
    ContainerSpec: {
      Image: image,
      Labels: { inner: 'yes' },
      Command: ['/bin/sh', '-c'],
      Args: ['sleep 1'],
      Hostname: '{{.Node.Hostname}}',
      Env: ['A=1', 'B'],
      Dir: '/tmp',
      User: '1000:1000',
      Groups: ['audio', '44'],
      Privileges: {
        CredentialSpec: null,
        SELinuxContext: { Disable: true, User: 'u', Role: 'r', Type: 't', Level: 'l' },
        Seccomp: { Mode: 'unconfined' },
        AppArmor: { Mode: 'default' },
        NoNewPrivileges: true,
      },
      StopSignal: 'SIGQUIT',
      TTY: true,
      OpenStdin: true,
      ReadOnly: true,
      Mounts: [
        {
          Type: 'bind',
          Source: '/tmp',
          Target: '/a',
          ReadOnly: true,
          Consistency: 'cached',
          BindOptions: {
            Propagation: 'rslave',
            NonRecursive: true,
            CreateMountpoint: true,
            ReadOnlyNonRecursive: true,
          },
        },
        {
          Type: 'volume',
          Source: 'v',
          Target: '/b',
          VolumeOptions: {
            NoCopy: true,
            Labels: { l: '1' },
            Subpath: 'sub',
            DriverConfig: { Name: 'local', Options: { o: '2' } },
          },
        },
        {
          Type: 'tmpfs',
          Target: '/c',
          TmpfsOptions: { SizeBytes: 65536, Mode: 1023, Options: [['noexec'], ['uid', '1']] },
        },
        { Type: 'volume', Target: '/d' },
      ],
      StopGracePeriod: 3_000_000_000,
      Healthcheck: {
        Test: ['CMD', 'true'],
        Interval: 1_000_000_000,
        Timeout: 2_000_000_000,
        StartPeriod: 3_000_000_000,
        StartInterval: 4_000_000_000,
        Retries: 5,
      },
      Hosts: ['1.2.3.4 one two', '::1 three'],
      DNSConfig: { Nameservers: ['9.9.9.9'], Search: ['example.org'], Options: ['timeout:3'] },
      Isolation: 'default',
      Init: true,
      Sysctls: { 'net.core.somaxconn': '1024' },
      CapabilityAdd: ['CAP_NET_ADMIN'],
      CapabilityDrop: ['CAP_CHOWN'],
      Ulimits: [{ Name: 'nofile', Hard: 2048, Soft: 1024 }],
      OomScoreAdj: 100,
    },
    Resources: {
      Limits: { NanoCPUs: 500_000_000, MemoryBytes: 67_108_864, Pids: 50 },
      Reservations: {
        NanoCPUs: 250_000_000,
        MemoryBytes: 33_554_432,
        GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }],
      },
    },
    RestartPolicy: { Condition: 'on-failure', Delay: 7_000_000_000, MaxAttempts: 4, Window: 9_000_000_000 },
    Placement: {
      Constraints: ['node.hostname==nowhere', 'node.labels.x!=y'],
      Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.rack' } }],
      MaxReplicas: 3,
      Platforms: [{ Architecture: 'amd64', OS: 'linux' }],
    },
    ForceUpdate: 3,
    Runtime: 'container',
    Networks: [{ Target: networkId, Aliases: ['one', 'two'], DriverOpts: { k: 'v' } }],
    LogDriver: { Name: 'json-file', Options: { 'max-size': '1m' } },
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: {
    Parallelism: 2,
    Delay: 1_000_000_000,
    FailureAction: 'rollback',
    Monitor: 4_000_000_000,
    MaxFailureRatio: 0.25,
    Order: 'start-first',
  },
  RollbackConfig: {
    Parallelism: 3,
    Delay: 2_000_000_000,
    FailureAction: 'continue',
    Monitor: 6_000_000_000,
    MaxFailureRatio: 0.5,
    Order: 'stop-first',
  },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [
      { Name: 'http', Protocol: 'tcp', TargetPort: 80, PublishedPort: publishedPort, PublishMode: 'ingress' },
      { Protocol: 'udp', TargetPort: 53, PublishMode: 'host' },
      { Protocol: 'sctp', TargetPort: 90 },
    ],
  },
});

export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** An identifier that nothing has. */
export const nobody = 'zzzzzzzzzzzzzzzzzzzzzzzzz';
