/**
 * The line that a request leaves in the log, and its place in a trace (docs/adr/0055). Of what only shows something there is none. A
 * caller that sends a `traceparent` is told by `traceresponse` which span its request was here; one that sends none, as the stock
 * CLI, gets the same answer as ever.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RequestTrace } from '../../model/trace.js';
import { formatTraceparent, requestTrace } from '../../model/trace.js';
import { decide } from '../../runtime/decide.js';
import { clientOf } from './access.js';
import type { ApiContext } from './context.js';
import type { Route } from './routes.js';

/** What changes nothing, by HTTP's own words. */
const safe: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
/** Ids have 25, names of services 63. */
const objectLengthMax = 64;

type Handled = Extract<Route, { readonly kind: 'handler' }>;

/** A request that may change something, from its head to its answer. */
export class RequestLog {
  readonly trace: RequestTrace;
  readonly #beganMs: number;

  private constructor(
    private readonly context: ApiContext,
    private readonly http: IncomingMessage,
    private readonly reply: ServerResponse,
    private readonly route: Handled,
  ) {
    const { traceparent } = http.headers;
    this.trace = requestTrace(traceparent, context.random);
    this.#beganMs = context.clock.steadyMs();
    if (this.trace.parentId !== undefined) reply.setHeader('Traceresponse', formatTraceparent(this.trace));
  }

  /** Undefined for a request that only asks to be shown something. */
  static begin(
    context: ApiContext,
    http: IncomingMessage,
    reply: ServerResponse,
    route: Handled,
  ): RequestLog | undefined {
    return safe.has(http.method ?? 'GET') ? undefined : new RequestLog(context, http, reply, route);
  }

  /** The answer is given, or nobody is left to take it. */
  end(): void {
    const { context, http, reply, route, trace } = this;
    const { spanId, parentId } = trace;
    const client = clientOf(http.socket)?.name;
    const [object] = route.params;
    decide(
      context.log,
      'request.answered',
      {
        method: http.method ?? '',
        route: route.path,
        ...(object !== undefined && { object: object.slice(0, objectLengthMax) }),
        status: reply.headersSent ? reply.statusCode : 0,
        durationMs: Math.round(context.clock.steadyMs() - this.#beganMs),
        span_id: spanId,
        ...(parentId !== undefined && { parent_id: parentId }),
        ...(client !== undefined && { client }),
      },
      { trace: trace.traceId },
    );
  }
}
