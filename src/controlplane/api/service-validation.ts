/**
 * What swarmkit's control API refuses in a service, in its order and words; pure. What only the store can tell (names,
 * ports, networks) is checked against a view, before the transaction and again inside it.
 */
import { faultOfContainerLabels, faultOfServiceLabels } from '../../model/balancing.js';
import { parseConstraint } from '../../model/constraint.js';
import { faultOfAliases } from '../../model/dns-names.js';
import { faultOfEngineNetworks } from '../../model/engine-networks.js';
import { faultOfHostAccessLabels } from '../../model/host-access.js';
import { faultOfPublishLabels } from '../../model/publishing.js';
import { faultOfSchedule } from '../../model/schedule.js';
import { faultOfRebalanceLabel } from '../../model/rebalancing.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import type { ErrorKind } from '../../model/errors.js';
import type { ConfigId, NetworkId, SecretId } from '../../model/ids.js';
import type { Config, Network, Secret, Service } from '../../model/objects.js';
import { answersTo } from '../../model/payload-versions.js';
import { faultOfReferences, payloadKinds } from '../../model/payloads.js';
import type { PayloadKind } from '../../model/payloads.js';
import { swarmNetworksOf, referencesOf } from '../../model/service-laws.js';
import { swarmPorts } from '../../model/swarm-ports.js';
import type {
  ContainerSpec,
  EndpointSpec,
  PortConfig,
  ServiceSpec,
  UpdateConfig,
} from '../../model/service-spec.js';
import type { View } from '../store/store.js';
import { expandForNobody } from '../template/container-template.js';
import { isImageReference } from './image-reference.js';
import { overlapOf } from './network-conflicts.js';

const refuse = (message: string, kind: ErrorKind = 'invalidArgument'): never => {
  throw controlApiError(kind, message);
};

const namePattern = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/;
const nameLengthMax = 63;
/** 0.001 CPU, the smallest cgroup quota. */
const minNanoCpus = 1e6;
const minMemoryBytes = 4 * 1024 * 1024;
const millisecond = 1_000_000;

/** A service's or network's name. */
export function validateName(name: string): void {
  if (name === '') refuse('meta: name must be provided');
  if (!namePattern.test(name)) refuse('name must be valid as a DNS name component');
  if (name.length > nameLengthMax) refuse(`name must be ${nameLengthMax} characters or fewer`);
}

/** Everything about the spec that needs no store. */
export function validateServiceSpec(spec: ServiceSpec): void {
  validateName(spec.name);
  const fault =
    faultOfServiceLabels(spec.labels) ??
    faultOfPublishLabels(spec.labels) ??
    faultOfSchedule(spec) ??
    faultOfRebalanceLabel(spec) ??
    faultOfHostAccessLabels(spec.labels) ??
    faultOfEngineNetworks(spec) ??
    faultOfContainerLabels(spec.taskTemplate.container.labels);
  if (fault !== undefined) refuse(fault);
  validateTaskSpec(spec);
  for (const { target, aliases } of [...(spec.taskTemplate.networks ?? []), ...(spec.networks ?? [])]) {
    // Swarm stores any; no name server could be asked for such, and no node would take it for a name.
    const wrong = faultOfAliases(target, aliases);
    if (wrong !== undefined) refuse(wrong);
  }
  validateMode(spec);
  // Of a rollback Swarm looks at none of it; stacks that are deployed there have to be here.
  if (spec.updateConfig) validateUpdateConfig(spec.updateConfig);
  if (spec.endpointSpec) validateEndpointSpec(spec.endpointSpec);
}

function validateTaskSpec(spec: ServiceSpec): void {
  const { resources, restartPolicy, placement } = spec.taskTemplate;
  for (const part of [resources?.limits, resources?.reservations]) {
    if (!part) continue;
    if (part.nanoCpus !== 0 && part.nanoCpus < minNanoCpus)
      refuse(
        `invalid cpu value ${goFloat(part.nanoCpus / 1e9)}: Must be at least ${goFloat(minNanoCpus / 1e9)}`,
      );
    if (part.memoryBytes !== 0 && part.memoryBytes < minMemoryBytes)
      refuse(`invalid memory value ${part.memoryBytes}: Must be at least 4MiB`);
  }
  if ((restartPolicy?.delayNs ?? 0) < 0) refuse('TaskSpec: restart-delay cannot be negative');
  if ((restartPolicy?.windowNs ?? 0) < 0) refuse('TaskSpec: restart-window cannot be negative');
  for (const constraint of placement?.constraints ?? []) parseConstraint(constraint);
  for (const kind of payloadKinds) {
    const wrong = faultOfReferences(kind, referencesOf(spec, kind));
    if (wrong !== undefined) refuse(wrong);
  }
  validateContainer(expandedForNobody(spec));
}

/** As Swarm does: what no task could be made of is refused, and what follows is about what the texts would be. */
function expandedForNobody(spec: ServiceSpec): ContainerSpec {
  try {
    return expandForNobody(spec);
  } catch (err) {
    return refuse((err as Error).message);
  }
}

function validateContainer({ image, mounts, healthcheck }: ContainerSpec): void {
  if (image === '') refuse('ContainerSpec: image reference must be provided');
  if (!isImageReference(image))
    refuse(`ContainerSpec: ${JSON.stringify(image)} is not a valid repository/tag`);
  const targets = new Set<string>();
  for (const { target } of mounts) {
    if (targets.has(target)) refuse(`ContainerSpec: duplicate mount point: ${target}`);
    targets.add(target);
  }
  if (!healthcheck) return;
  const times = {
    Interval: healthcheck.intervalNs,
    Timeout: healthcheck.timeoutNs,
    StartPeriod: healthcheck.startPeriodNs,
    StartInterval: healthcheck.startIntervalNs,
  };
  for (const [name, value] of Object.entries(times))
    if (value !== 0 && value < millisecond)
      refuse(`ContainerSpec: ${name} in HealthConfig cannot be less than 1ms`);
  if (healthcheck.retries < 0) refuse('ContainerSpec: Retries in HealthConfig cannot be negative');
}

function validateMode(spec: ServiceSpec): void {
  switch (spec.mode.kind) {
    case 'replicated':
    case 'global':
      return;
    case 'replicated-job':
    case 'global-job':
      if (spec.updateConfig) refuse('Jobs may not have an update config');
  }
}

function validateUpdateConfig({ delayNs, monitorNs, maxFailureRatio }: UpdateConfig): void {
  if (delayNs < 0) refuse('TaskSpec: update-delay cannot be negative');
  if (monitorNs < 0) refuse('TaskSpec: update-monitor cannot be negative');
  if (maxFailureRatio < 0 || maxFailureRatio > 1)
    refuse('TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1');
}

function validateEndpointSpec({ mode, ports }: EndpointSpec): void {
  if (mode === 'dnsrr' && ports.some(({ publishMode }) => publishMode === 'ingress'))
    refuse("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
  const published = new Set<string>();
  for (const { publishedPort = 0, protocol, targetPort } of ports) {
    // swarmkit stores such ports and they fail in the dataplane; there is nothing to be compatible with.
    if (targetPort < 1 || targetPort > 65535) refuse(`EndpointSpec: invalid target port ${targetPort}`);
    if (publishedPort > 65535) refuse(`EndpointSpec: invalid published port ${publishedPort}`);
    if (publishedPort === 0) continue;
    const key = `${publishedPort}/${protocol}`;
    if (published.has(key)) refuse('EndpointSpec: duplicate published ports provided');
    published.add(key);
  }
}

export const needsIngress = ({ endpointSpec }: ServiceSpec): boolean =>
  endpointSpec?.mode !== 'dnsrr' &&
  (endpointSpec?.ports ?? []).some(({ publishMode }) => publishMode === 'ingress');

/** Read by its id, so that what a transaction makes of it depends on its staying. */
export function findIngress(view: View): Network | undefined {
  const found = view.list('network').find(({ spec }) => spec.ingress);
  return found && view.get('network', found.id);
}

/** Networks of the swarm that the service's tasks join. */
export const attachedNetworks = (spec: ServiceSpec): readonly string[] =>
  swarmNetworksOf(spec).map(({ target }) => target);

/** Refuses references to secrets and configs that are not there, or have another name. */
function validateReferences(view: View, spec: ServiceSpec): void {
  for (const kind of payloadKinds) {
    const missing = referencesOf(spec, kind).filter(({ id, name }) => {
      const payload = payloadOf(view, kind, id);
      return !payload || !answersTo(payload.spec, name);
    });
    if (missing.length === 0) continue;
    const names = missing.map(({ name }) => name).join(', ');
    refuse(`${kind}${missing.length === 1 ? '' : 's'} not found: ${names}`);
  }
}

const payloadOf = (view: View, kind: PayloadKind, id: string): Secret | Config | undefined =>
  kind === 'secret' ? view.get('secret', id as SecretId) : view.get('config', id as ConfigId);

/** Checks that need the store: network kinds and port conflicts with every other service, secrets and configs. */
export function validateAgainst(view: View, spec: ServiceSpec, current?: Service): void {
  for (const target of attachedNetworks(spec)) {
    const network = view.get('network', target as NetworkId);
    if (!network) throw new SkepError('unknown', `network ${target} not found`);
    if (network.spec.ingress)
      refuse(
        `Service cannot be explicitly attached to the ingress network ${JSON.stringify(network.spec.name)}`,
      );
  }
  validateSubnets(view, spec);
  if (needsIngress(spec) && !findIngress(view))
    refuse('service needs ingress network, but no ingress network is present', 'failedPrecondition');
  refuseSwarmPorts(view, spec);
  for (const other of view.list('service')) if (other.id !== current?.id) validatePorts(spec, other);
  validateReferences(view, spec);
}

/** Subnets of different networks may overlap, those of one container may not: it could not tell whom to send by which. */
function validateSubnets(view: View, spec: ServiceSpec): void {
  const networks = attachedNetworks(spec).flatMap((id) => view.get('network', id as NetworkId) ?? []);
  for (const [index, one] of networks.entries())
    for (const other of networks.slice(index + 1)) {
      const overlap = one.id === other.id ? undefined : overlapOf(one, other);
      if (overlap)
        refuse(
          `networks ${one.spec.name} (${overlap[0]}) and ${other.spec.name} (${overlap[1]}) overlap and cannot be used by one service`,
        );
    }
}

/** Of either mode: the engine, too, takes a port of its node from whatever else comes in for it. */
function refuseSwarmPorts(view: View, { endpointSpec }: ServiceSpec): void {
  const kept = swarmPorts(view.cluster(), view.list('node'));
  for (const { publishedPort, protocol } of endpointSpec?.ports ?? []) {
    const theirs = kept.find((one) => one.port === publishedPort && one.protocol === protocol);
    if (theirs) refuse(`port '${publishedPort}' is already in use by the swarm itself (${theirs.use})`);
  }
}

/** Ingress ports are the cluster's; host ports may be shared between services, but not with ingress. */
function validatePorts({ endpointSpec }: ServiceSpec, other: Service): void {
  const wanted = (endpointSpec?.ports ?? []).filter(({ publishedPort = 0 }) => publishedPort !== 0);
  const taken: readonly PortConfig[] = [
    ...(other.spec.endpointSpec?.ports ?? []),
    ...(other.endpoint?.ports ?? []),
  ];
  for (const port of wanted)
    for (const theirs of taken) {
      if (port.publishedPort !== theirs.publishedPort || port.protocol !== theirs.protocol) continue;
      if (port.publishMode === 'host' && theirs.publishMode === 'host') continue;
      const as = theirs.publishMode === 'ingress' ? 'an ingress' : 'a host-published';
      refuse(
        `port '${port.publishedPort}' is already in use by service '${other.spec.name}' (${other.id}) as ${as} port`,
      );
    }
}

/** strconv's shortest form: exponents below 1e-4, two digits wide. */
const goFloat = (value: number): string =>
  Math.abs(value) < 1e-4 && value !== 0
    ? value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
    : String(value);
