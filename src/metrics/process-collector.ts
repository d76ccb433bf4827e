/**
 * What a daemon's process takes. Read when asked: prom-client's own default metrics keep a timer of ten milliseconds for the event
 * loop's delay, which an idle daemon is not to have (docs/adr/0044).
 */
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import type { processMetrics } from './own-table.js';
import type { Samples } from './samples.js';

/** Lies two levels above this file's in src/ and dist/ alike. */
const version = (): string =>
  (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version;

/** @param daemon its name */
export function processCollector(daemon: string): (into: Samples<typeof processMetrics>) => Promise<void> {
  const build = { daemon, version: version(), node_version: process.version };
  const startedS = performance.timeOrigin / 1000;
  return async (into) => {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    into.put('skep_build_info', build, 1);
    into.put('skep_process_start_time_seconds', {}, startedS);
    into.put('skep_process_cpu_seconds_total', { mode: 'user' }, user / 1e6);
    into.put('skep_process_cpu_seconds_total', { mode: 'system' }, system / 1e6);
    into.put('skep_process_busy_seconds_total', {}, performance.eventLoopUtilization().active / 1000);
    into.put('skep_process_resident_memory_bytes', {}, rss);
    into.put('skep_process_heap_bytes', {}, heapUsed);
    into.put('skep_process_open_fds', {}, (await readdir('/proc/self/fd')).length);
  };
}
