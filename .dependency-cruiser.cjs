/** The module boundaries of ARCHITECTURE.md, one rule a row: who may never import whom. */
const forbid = (name, from, to, comment) => ({
  name,
  severity: 'error',
  comment,
  from: { path: from },
  to: { path: to },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'main-is-imported-by-nobody',
      severity: 'error',
      from: { pathNot: 'main\\.ts$' },
      to: { path: '^src/.*/main\\.ts$' },
    },
    forbid(
      'model-is-pure',
      '^src/model',
      '^src/(?!model)|^(node:)?(fs|net|dgram|child_process|crypto|http)$',
      'nouns and laws, no I/O',
    ),
    forbid(
      'runtime-knows-no-swarm',
      '^src/runtime',
      '^src/(controlplane|dataplane|metrics|lab|cli|options)',
      'generic',
    ),
    forbid(
      'options-are-read-before-all-else',
      '^src/options',
      '^src/(controlplane|lab|cli|dataplane/(?!plan/balancing\\.ts))',
      'the table knows the names of engines, and else nobody whom it tells',
    ),
    forbid(
      'metrics-know-no-daemon',
      '^src/metrics',
      '^src/(controlplane|dataplane|lab|cli)',
      'tables, text and the server; each daemon has its collectors',
    ),
    forbid(
      'plan-is-pure',
      '^src/dataplane/(plan|state\\.ts)',
      '^src/(controlplane|lab|cli|dataplane/(kernel|netlink|reconcile|plugin)|runtime/native)|^(node:)?(fs|net|dgram|child_process)$',
      'planners do no I/O',
    ),
    forbid(
      'netlink-codecs-are-pure',
      '^src/dataplane/netlink/(?!socket\\.ts)',
      '^(node:)?(fs|net|dgram|child_process)$|^src/dataplane/(plan|kernel|reconcile)',
      'codecs',
    ),
    forbid(
      'kernel-decides-nothing',
      '^src/dataplane/kernel',
      '^src/(controlplane|dataplane/reconcile|dataplane/plugin)',
      'thin',
    ),
    forbid(
      'reconcile-speaks-to-kernel-adapters',
      '^src/dataplane/reconcile',
      '^src/dataplane/netlink|^src/controlplane',
      'not netlink directly',
    ),
    forbid(
      'dataplane-knows-no-controlplane',
      '^src/dataplane',
      '^src/controlplane',
      'they meet in proto/dataplane.proto',
    ),
    forbid(
      'api-runs-no-loops',
      '^src/controlplane/api',
      '^src/controlplane/(allocator|orchestrator|scheduler|dispatcher|agent|node)',
      'main injects what it needs',
    ),
    forbid(
      'loops-meet-in-the-store',
      '^src/controlplane/allocator',
      '^src/controlplane/(orchestrator|scheduler|dispatcher|agent|api)',
      'only in the store',
    ),
    forbid(
      'orchestrator-alone',
      '^src/controlplane/orchestrator',
      '^src/controlplane/(allocator|scheduler|dispatcher|agent|api)',
      'only in the store',
    ),
    forbid(
      'scheduler-alone',
      '^src/controlplane/scheduler',
      '^src/controlplane/(allocator|orchestrator|dispatcher|agent|api)',
      'only in the store',
    ),
    forbid(
      'dispatcher-knows-no-agent',
      '^src/controlplane/dispatcher',
      '^src/controlplane/(agent|api|allocator|orchestrator|scheduler)',
      'they meet in proto/dispatcher.proto',
    ),
    forbid(
      'agent-knows-no-store',
      '^src/controlplane/agent',
      '^src/controlplane/(store|dispatcher|api|allocator|orchestrator|scheduler)',
      'the agent runs on workers',
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
};
