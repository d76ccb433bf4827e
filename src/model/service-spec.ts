/** What a user asks of a service, field by field as in Docker's ServiceSpec (camelCase; `Ns` = nanoseconds). */
import type { DiscreteResource } from './generic-resources.js';

export type Labels = Readonly<Record<string, string>>;

export interface LogDriver {
  readonly name: string;
  readonly options: Labels;
}

export interface ServiceSpec {
  readonly name: string;
  readonly labels: Labels;
  readonly taskTemplate: TaskSpec;
  readonly mode: ServiceMode;
  readonly updateConfig?: UpdateConfig;
  readonly rollbackConfig?: UpdateConfig;
  /** Deprecated in Docker's API and still accepted; `taskTemplate.networks` wins. */
  readonly networks?: readonly NetworkAttachmentConfig[];
  readonly endpointSpec?: EndpointSpec;
}

export type ServiceMode =
  | { readonly kind: 'replicated'; readonly replicas: number }
  | { readonly kind: 'global' }
  | { readonly kind: 'replicated-job'; readonly maxConcurrent: number; readonly totalCompletions: number }
  | { readonly kind: 'global-job' };

export interface UpdateConfig {
  readonly parallelism: number;
  readonly delayNs: number;
  readonly failureAction: 'pause' | 'continue' | 'rollback';
  readonly monitorNs: number;
  readonly maxFailureRatio: number;
  readonly order: 'stop-first' | 'start-first';
}

export interface EndpointSpec {
  readonly mode: 'vip' | 'dnsrr';
  readonly ports: readonly PortConfig[];
}

export interface PortConfig {
  readonly name?: string;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly targetPort: number;
  /** 0 or absent: allocate one. */
  readonly publishedPort?: number;
  readonly publishMode: 'ingress' | 'host';
}

export interface NetworkAttachmentConfig {
  /** A network's id once the service is stored. */
  readonly target: string;
  readonly aliases: readonly string[];
  readonly driverOpts?: Labels;
}

export interface TaskSpec {
  /** Empty where {@link networkAttachment} is given. */
  readonly container: ContainerSpec;
  /** Of a task with runtime `attachment`: no process of ours, but a user's own container on an attachable network. */
  readonly networkAttachment?: NetworkAttachmentSpec;
  readonly resources?: {
    readonly limits?: { readonly nanoCpus: number; readonly memoryBytes: number; readonly pids: number };
    readonly reservations?: {
      readonly nanoCpus: number;
      readonly memoryBytes: number;
      readonly genericResources?: readonly DiscreteResource[];
    };
  };
  readonly restartPolicy?: RestartPolicy;
  readonly placement?: Placement;
  readonly networks?: readonly NetworkAttachmentConfig[];
  readonly logDriver?: LogDriver;
  readonly forceUpdate: number;
  readonly runtime?: string;
}

/** The container that an attachment connects: Docker's NetworkAttachmentSpec, and what names and resolving need of it. */
export interface NetworkAttachmentSpec {
  /** Empty until the engine has made it. */
  readonly containerId: string;
  /** Without the engine's slash; empty until known. */
  readonly containerName: string;
  /** Of a container that is on networks of the engine's own, too: the servers that the engine's resolver asks for it. */
  readonly nameservers: readonly string[];
}

export interface RestartPolicy {
  readonly condition: 'none' | 'on-failure' | 'any';
  /** Absent means 5 s; an explicit 0 is kept. */
  readonly delayNs?: number;
  readonly maxAttempts: number;
  readonly windowNs: number;
}

export interface Placement {
  readonly constraints: readonly string[];
  readonly preferences: readonly { readonly spreadDescriptor: string }[];
  readonly maxReplicas: number;
  readonly platforms: readonly { readonly architecture: string; readonly os: string }[];
}

export interface ContainerSpec {
  readonly image: string;
  readonly labels: Labels;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly hostname?: string;
  readonly env: readonly string[];
  readonly dir?: string;
  readonly user?: string;
  readonly groups: readonly string[];
  readonly privileges?: Privileges;
  readonly init?: boolean;
  readonly stopSignal?: string;
  readonly tty: boolean;
  readonly openStdin: boolean;
  readonly readOnly: boolean;
  readonly mounts: readonly Mount[];
  readonly stopGracePeriodNs?: number;
  readonly healthcheck?: HealthConfig;
  /** `IP name alias…`, as in hosts(5). */
  readonly hosts: readonly string[];
  readonly dnsConfig?: {
    readonly nameservers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
  readonly sysctls: Labels;
  readonly capabilityAdd: readonly string[];
  readonly capabilityDrop: readonly string[];
  readonly ulimits: readonly { readonly name: string; readonly soft: number; readonly hard: number }[];
  readonly oomScoreAdj?: number;
  /** Absent: none. */
  readonly secrets?: readonly PayloadReference[];
  readonly configs?: readonly PayloadReference[];
  /** Base64 of the client's X-Registry-Auth; distributed with the task and never returned. */
  readonly registryAuth?: string;
}

/** A secret or config that a container is given. */
export interface PayloadReference {
  readonly id: string;
  /** As it was when the reference was made. */
  readonly name: string;
  readonly file: {
    /** Absolute, or below /run/secrets for a secret and / for a config. */
    readonly name: string;
    /** Decimal; empty is 0. */
    readonly uid: string;
    readonly gid: string;
    /** As in Go's os.FileMode: the low nine bits are Unix's. */
    readonly mode: number;
  };
}

/** One of which nothing is asked, not even an image. */
export const emptyContainer: ContainerSpec = {
  image: '',
  labels: {},
  command: [],
  args: [],
  env: [],
  groups: [],
  tty: false,
  openStdin: false,
  readOnly: false,
  mounts: [],
  hosts: [],
  sysctls: {},
  capabilityAdd: [],
  capabilityDrop: [],
  ulimits: [],
};

/** What a container's process may do, beyond its capabilities. */
export interface Privileges {
  readonly seLinuxContext?: {
    readonly disable: boolean;
    readonly user: string;
    readonly role: string;
    readonly type: string;
    readonly level: string;
  };
  /** `profile`: JSON in base64, of a `custom` one. */
  readonly seccomp?: { readonly mode: 'default' | 'unconfined' | 'custom'; readonly profile: string };
  readonly appArmor?: { readonly mode: 'default' | 'disabled' };
  readonly noNewPrivileges: boolean;
}

export interface HealthConfig {
  readonly test: readonly string[];
  readonly intervalNs: number;
  readonly timeoutNs: number;
  readonly startPeriodNs: number;
  readonly startIntervalNs: number;
  readonly retries: number;
}

export interface Mount {
  readonly type: 'bind' | 'volume' | 'tmpfs';
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly bindOptions?: {
    readonly propagation?: string;
    readonly nonRecursive?: boolean;
    readonly createMountpoint?: boolean;
    readonly readOnlyNonRecursive?: boolean;
    readonly readOnlyForceRecursive?: boolean;
  };
  readonly volumeOptions?: {
    readonly noCopy?: boolean;
    readonly labels?: Labels;
    readonly subpath?: string;
    readonly driverConfig?: { readonly name: string; readonly options: Labels };
  };
  readonly tmpfsOptions?: {
    readonly sizeBytes?: number;
    readonly mode?: number;
    /** Each a name, or a name and a value. */
    readonly options?: readonly (readonly string[])[];
  };
}
