/** `?insertDefaults=true`: a spec with everything said that Swarm would assume (swarmkit's api/defaults). */
import type { ServiceSpec, UpdateConfig } from '../../../model/service-spec.js';

const second = 1_000_000_000;

const updateDefaults: UpdateConfig = {
  parallelism: 1,
  delayNs: 0,
  failureAction: 'pause',
  monitorNs: 5 * second,
  maxFailureRatio: 0,
  order: 'stop-first',
};

/** Given configs keep what they say, except an absent monitor. */
const withMonitor = (config: UpdateConfig): UpdateConfig =>
  config.monitorNs === 0 ? { ...config, monitorNs: updateDefaults.monitorNs } : config;

export function insertDefaults(spec: ServiceSpec): ServiceSpec {
  const { taskTemplate } = spec;
  const { container } = taskTemplate;
  return {
    ...spec,
    taskTemplate: {
      ...taskTemplate,
      container: {
        ...container,
        stopGracePeriodNs: container.stopGracePeriodNs ?? 10 * second,
        dnsConfig: container.dnsConfig ?? { nameservers: [], search: [], options: [] },
      },
      resources: taskTemplate.resources ?? {},
      restartPolicy: {
        ...(taskTemplate.restartPolicy ?? { condition: 'any', maxAttempts: 0, windowNs: 0 }),
        delayNs: taskTemplate.restartPolicy?.delayNs ?? 5 * second,
      },
      placement: taskTemplate.placement ?? {
        constraints: [],
        preferences: [],
        maxReplicas: 0,
        platforms: [],
      },
    },
    updateConfig: withMonitor(spec.updateConfig ?? updateDefaults),
    rollbackConfig: withMonitor(spec.rollbackConfig ?? updateDefaults),
  };
}
