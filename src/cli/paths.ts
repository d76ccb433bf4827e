/** Where Skep's parts meet on a host, with the environment's overrides. */
export const runDir = (env: NodeJS.ProcessEnv): string => env['SKEP_RUN_DIR'] ?? '/run/skep';
export const dataplaneSocket = (env: NodeJS.ProcessEnv): string => `${runDir(env)}/dataplane.sock`;
export const apiSocket = (env: NodeJS.ProcessEnv): string => `${runDir(env)}/docker.sock`;
export const engineAddress = (env: NodeJS.ProcessEnv): string =>
  env['SKEP_ENGINE'] ?? 'unix:///var/run/docker.sock';
