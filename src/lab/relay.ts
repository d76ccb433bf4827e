/**
 * A node's relay: a process inside the lab's network namespace that joins a unix socket on this machine with the node's
 * agent on the control network. It is there because a file can be reached from any network namespace and a namespace
 * cannot be entered by a thread of Node's; it only copies bytes.
 * It ends with its node, since a power cut closes no TCP connection: whoever waits for a dead node's answer learns it.
 *
 * `node relay.js SOCKET ADDRESS PID`, where PID is the node's process.
 */
import { rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { agentPort } from './layout.js';
import { isAlive } from './process-table.js';

const watchGapMs = 500;
const connectTimeoutMs = 1_000;
const [, , path = '', host = '', pid = ''] = process.argv;

rmSync(path, { force: true });
createServer({ allowHalfOpen: true }, (near) => {
  const far = connect({ host, port: agentPort, allowHalfOpen: true });
  // A booting node answers nothing at all; the caller may ask again sooner than TCP would.
  const patience = setTimeout(() => far.destroy(new Error('no answer')), connectTimeoutMs);
  far.once('connect', () => clearTimeout(patience));
  near.pipe(far);
  far.pipe(near);
  near.on('error', () => far.destroy());
  far.on('error', () => near.destroy());
}).listen(path);

setInterval(() => {
  // The socket file stays: by now it may be the one of this node's next life.
  if (!isAlive(Number(pid))) process.exit(0);
}, watchGapMs);
