/** The stacks of this directory: how each is deployed, what it must come to, and one key that a later deploy changes. */
import { existsSync } from 'node:fs';

/** The newer of the stock CLIs; not every machine has it beside that of its engine. */
export const newestCli = '/usr/local/bin/docker';
export const hasNewestCli = existsSync(newestCli);

/** One edit of a file and what it is of. */
export interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The one service that may differ afterwards. */
  readonly service: string;
  /** Whether its tasks are new ones then. */
  readonly replaces: boolean;
  /** How many there are then, where that is another number. */
  readonly replicas?: string;
}

export interface Stack {
  readonly name: string;
  readonly files: readonly string[];
  /** By service: what `docker stack services` says of it. */
  readonly services: Readonly<Record<string, string>>;
  readonly networks: readonly string[];
  readonly configs?: readonly string[];
  readonly secrets?: readonly string[];
  /** Published through every node and answered over HTTP. */
  readonly ports: readonly number[];
  readonly change: Change;
  /** Has what the older of the stock CLIs knows nothing of. */
  readonly newestOnly?: true;
}

/** On every node, of which there are three. */
const everywhere = 'global 3/3';
const replicas = (count: number): string => `replicated ${count}/${count}`;

export const stacks: readonly Stack[] = [
  {
    name: 'voting-app',
    files: ['voting-app.yml'],
    services: {
      ...{ vote: replicas(2), result: replicas(1), worker: replicas(2), redis: replicas(1), db: replicas(1) },
      visualizer: replicas(1),
    },
    networks: ['voting-app_backend', 'voting-app_default', 'voting-app_frontend'],
    ports: [5000, 5001, 8888],
    change: {
      ...{ file: 'voting-app.yml', service: 'worker', replaces: true },
      ...{ from: '    init: true\n', to: '    init: true\n    environment:\n      ROUND: two\n' },
    },
  },
  {
    name: 'reverse-proxy',
    files: ['reverse-proxy.yml'],
    services: { proxy: 'global 1/1', shop: replicas(2) },
    networks: [],
    ports: [],
    change: {
      ...{ file: 'reverse-proxy.yml', service: 'shop', replaces: false },
      ...{ from: 'Host(`shop.example.org`)', to: 'Host(`store.example.org`)' },
    },
  },
  {
    name: 'monitoring',
    files: ['monitoring.yml'],
    services: {
      ...{ prometheus: replicas(1), alerts: replicas(1), panel: replicas(1) },
      'node-exporter': everywhere,
    },
    networks: ['monitoring_monitoring'],
    configs: ['monitoring_prometheus', 'monitoring_rules'],
    ports: [9090, 3000],
    change: {
      ...{ file: 'monitoring.yml', service: 'panel', replaces: true },
      ...{ from: 'GF_USERS_ALLOW_SIGN_UP=false', to: 'GF_USERS_ALLOW_SIGN_UP=true' },
    },
  },
  {
    name: 'queue',
    files: ['queue.yml'],
    services: { broker: replicas(1), fast: `${replicas(4)} (max 2 per node)`, slow: replicas(2) },
    networks: ['queue_work'],
    ports: [15672],
    change: {
      ...{ file: 'files/worker.env', service: 'slow', replaces: true },
      ...{ from: 'PREFETCH=1', to: 'PREFETCH=2' },
    },
  },
  {
    name: 'log-collector',
    files: ['log-collector.yml'],
    services: { collector: everywhere, store: replicas(2) },
    networks: ['log-collector_logs'],
    ports: [],
    change: {
      ...{ file: 'log-collector.yml', service: 'store', replaces: false },
      ...{ from: '      replicas: 2', to: '      replicas: 3', replicas: replicas(3) },
    },
  },
  {
    name: 'scheduled-job',
    files: ['scheduled-job.yml'],
    newestOnly: true,
    services: {
      app: replicas(2),
      migrate: 'replicated job 0/2 (2/2 completed)',
      report: 'replicated job 0/1 (1/1 completed)',
      clean: 'global job 0/0 (3/3 completed)',
    },
    networks: ['scheduled-job_default', 'scheduled-job_inner'],
    ports: [],
    change: {
      ...{ file: 'scheduled-job.yml', service: 'app', replaces: true },
      ...{ from: '    image: skep/whoami:lab\n', to: '    image: skep/whoami:lab\n    hostname: app\n' },
    },
  },
  {
    name: 'three-tiers',
    files: ['three-tiers.yml'],
    services: { edge: replicas(3), api: replicas(2), store: replicas(1) },
    networks: ['three-tiers_inside', 'three-tiers_outside', 'tiers-middle'],
    ports: [7000, 7001],
    change: {
      ...{ file: 'three-tiers.yml', service: 'api', replaces: true },
      ...{ from: 'net.core.somaxconn: 1024', to: 'net.core.somaxconn: 2048' },
    },
  },
  {
    name: 'canary',
    files: ['canary.yml', 'canary.next.yml'],
    services: { app: replicas(2), canary: replicas(1) },
    networks: ['canary_edge'],
    ports: [7100],
    change: {
      ...{ file: 'canary.next.yml', service: 'canary', replaces: true },
      ...{ from: "RELEASE: '2'", to: "RELEASE: '3'" },
    },
  },
  {
    name: 'static-site',
    files: ['static-site.yml'],
    services: { web: replicas(2) },
    networks: ['static-site_default'],
    configs: ['static-site_about', 'static-site_index', 'static-site_server'],
    ports: [7200],
    change: {
      ...{ file: 'static-site.yml', service: 'web', replaces: true },
      ...{ from: '        mode: 0444\n', to: '        mode: 0644\n' },
    },
  },
  {
    name: 'registry',
    files: ['registry.yml'],
    services: { registry: replicas(1) },
    networks: ['registry_default'],
    secrets: ['registry_users'],
    ports: [],
    change: {
      ...{ file: 'registry.yml', service: 'registry', replaces: true },
      ...{ from: "DELETE_ENABLED: 'true'", to: "DELETE_ENABLED: 'false'" },
    },
  },
];

/** Those that a CLI which is here can deploy. */
export const deployable = stacks.filter(({ newestOnly }) => hasNewestCli || !newestOnly);
