/** Metrics that every daemon has: of its process, and of the collection of metrics itself. */
import type { MetricTable } from './definition.js';

export const collectionMetrics = {
  skep_metrics_collection_seconds: {
    type: 'gauge',
    labels: [],
    unit: 'seconds',
    meaning: 'How long it took to collect the values of this scrape, without writing them.',
  },
  skep_metrics_collection_failures_total: {
    type: 'counter',
    labels: ['collector'],
    unit: 'collections',
    meaning:
      'Times that a collector failed or was late. Its metrics are missing from such a scrape, all others are there.',
  },
  skep_metrics_left_out_series: {
    type: 'gauge',
    labels: [],
    unit: 'series',
    meaning:
      'Lines that this scrape would have had beyond what one may have. Anything but 0: not every service is seen.',
  },
} as const satisfies MetricTable;

export const processMetrics = {
  skep_build_info: {
    type: 'gauge',
    labels: ['daemon', 'version', 'node_version'],
    unit: 'information',
    meaning: 'Always 1. Its labels say which version of Skep, and of Node.js, the daemon is.',
  },
  skep_process_start_time_seconds: {
    type: 'gauge',
    labels: [],
    unit: 'seconds',
    meaning:
      'When the daemon was started, since 1970 began. Counters begin at 0 then, but for those of the kernel.',
  },
  skep_process_cpu_seconds_total: {
    type: 'counter',
    labels: ['mode'],
    unit: 'seconds',
    meaning: 'Processor time of the daemon with all its threads; `mode` is `user` or `system`.',
  },
  skep_process_busy_seconds_total: {
    type: 'counter',
    labels: [],
    unit: 'seconds',
    meaning:
      'For how long the daemon’s event loop had something to do. One that gains a second a second is at its limit.',
  },
  skep_process_resident_memory_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning: 'Memory that the daemon has, as the kernel counts it.',
  },
  skep_process_heap_bytes: {
    type: 'gauge',
    labels: [],
    unit: 'bytes',
    meaning:
      'What of it JavaScript’s objects take in the main thread, garbage that is not collected yet included.',
  },
  skep_process_open_fds: {
    type: 'gauge',
    labels: [],
    unit: 'descriptors',
    meaning: 'Open file descriptors of the daemon.',
  },
} as const satisfies MetricTable;
