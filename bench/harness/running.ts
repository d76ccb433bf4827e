/** How a bench waits in a node until its tasks run. */
import type { ManagedLab } from '../../test/support/managed-lab.js';

/**
 * Shell words that end when the API of the node they are run on says that so many tasks run, of all services. Asked ten
 * times a second by one request, whose size does not depend on the number of tasks.
 */
export const runningTasks = (lab: ManagedLab, count: number): string => {
  const asked = `curl -s --unix-socket ${lab.socket} 'http://d/v1.41/services?status=true'`;
  const sum = `grep -o '"RunningTasks":[0-9]*' | awk -F: '{ n += $2 } END { print n + 0 }'`;
  return `until [ "$(${asked} | ${sum})" = ${count} ]; do sleep 0.1; done`;
};

/**
 * Shell words that end when the API of the node they are run on says that a task of that service runs on that node. Asked ten
 * times a second by one request.
 */
export const runningOn = (lab: ManagedLab, service: string, node: string): string => {
  const filters = JSON.stringify({ service: [service], node: [node], 'desired-state': ['running'] });
  const asked = `curl -sG --unix-socket ${lab.socket} --data-urlencode 'filters=${filters}' http://d/v1.41/tasks`;
  return `until ${asked} | grep -q '"State":"running"'; do sleep 0.1; done`;
};
