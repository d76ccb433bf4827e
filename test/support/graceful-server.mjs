/**
 * A web server that loses no request when it is stopped: on SIGTERM it takes no new connection, answers what comes on those it has
 * with `Connection: close`, lets streams run to their end, and ends with the last one. `/stream` lasts twenty seconds.
 */
import { createServer } from 'node:http';
import { Server } from 'node:net';
import { hostname } from 'node:os';
import { setImmediate } from 'node:timers';

const streamMs = 20_000;
const lineEveryMs = 1_000;
/** After SIGTERM nobody calls any more: so long without a connection, and all are taken. */
const quietMs = 1_000;
let stopping = false;

const server = createServer((request, response) => {
  if (stopping) response.setHeader('Connection', 'close');
  response.setHeader('Content-Type', 'text/plain');
  if (request.url !== '/stream') {
    response.end(`${hostname()}\n`);
    return;
  }
  const startedMs = performance.now();
  const timer = setInterval(() => {
    if (performance.now() - startedMs < streamMs) response.write('more\n');
    else {
      clearInterval(timer);
      response.end('end\n');
    }
  }, lineEveryMs);
  response.on('close', () => clearInterval(timer));
  response.write(`${hostname()}\n`);
});
// Only the client and SIGTERM end a connection.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.listen({ port: 80, backlog: 1024 });

process.on('SIGTERM', () => {
  stopping = true;
  let taken = 0;
  server.on('connection', () => (taken += 1));
  // Connections that the kernel has accepted wait to be taken, for long where processors are scarce: closing would reset them.
  // A timer that is late comes before those that came meanwhile, which a turn of the event loop takes, so what counts is that
  // none was there after it. http's own close() would end idle ones, too, on which a request may be on its way.
  const look = (before) =>
    setTimeout(
      () =>
        setImmediate(() => {
          if (taken > before) look(taken);
          else Server.prototype.close.call(server, () => process.exit(0));
        }),
      quietMs,
    );
  look(taken);
});
