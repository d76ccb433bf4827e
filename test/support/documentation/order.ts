/** The pages whose sessions are typed in the lab, as a reader would read them: each finds what those before it have made. */
export const playedPages: readonly string[] = [
  'docs/getting-started.md',
  'README.md',
  'docs/networking.md',
  'docs/labels.md',
  'docs/coming-from-swarm.md',
  'docs/troubleshooting.md',
  'docs/security.md',
  'docs/operations.md',
];
