/** One request of the script, and how the tables of it are written. */

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'PATCH' | 'OPTIONS';

/** Names a node by what it is when it is asked. */
export type NodeName = 'node1' | 'node2';

export interface Step {
  readonly method: Method;
  /** Path and query as sent, but `<name>` stands for what an earlier answer was saved as. */
  readonly target: string;
  /** Sent as the `filters` parameter; the same placeholders. */
  readonly filters?: unknown;
  /** A string is sent as it is, anything else as JSON; the same placeholders. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly node: NodeName;
  /** Tells steps apart that ask the same. */
  readonly note?: string;
  /** Name to the dotted way to a value in the answer's body; the empty way is the whole body. */
  readonly save?: Readonly<Record<string, string>>;
  /** Asks again until this holds of the answer's body. */
  readonly until?: (body: unknown) => boolean;
  /** Of these parts of the body (dotted; empty: all of it) only names and types are kept: the values are the machine's. */
  readonly shapeOf?: readonly string[];
  /** Only makes ready: the answer is not compared, and must be a success. */
  readonly silent?: boolean;
  /** Where the request was a success, what it made is removed again, unseen: the path it is below, or a whole request. */
  readonly undo?: string;
  /** Ends the daemon that answers, which is started again, before the request. */
  readonly restart?: boolean;
}

export type More = Partial<Omit<Step, 'method' | 'target' | 'body'>>;

const step =
  (method: Method) =>
  (target: string, more: More & { readonly body?: unknown } = {}): Step => ({
    method,
    target,
    node: 'node1',
    ...more,
  });

export const get = step('GET');
export const head = step('HEAD');
export const del = step('DELETE');
export const put = step('PUT');
export const post = (target: string, body?: unknown, more: More = {}): Step =>
  step('POST')(target, { ...(body === undefined ? {} : { body }), ...more });
export const any = (method: Method, target: string, more: More = {}): Step => step(method)(target, more);

/** The same requests of another node. */
export const at = (node: NodeName, steps: readonly Step[]): Step[] =>
  steps.map((each) => ({ ...each, node }));

/** What a step is called in the kept answers and in the document. */
export function titleOf({ method, target, filters, body, headers, note, node }: Step): string {
  const said = [
    node === 'node1' ? '' : `${node}:`,
    method,
    target,
    filters === undefined ? '' : `filters=${JSON.stringify(filters)}`,
    ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    note === undefined && body !== undefined ? shortened(body) : '',
    note === undefined ? '' : `(${note})`,
  ];
  return said.filter((each) => each !== '').join(' ');
}

const bodyLengthMax = 100;

const shortened = (body: unknown): string => {
  const text = body === '' ? '(empty)' : typeof body === 'string' ? body : JSON.stringify(body);
  return text.length > bodyLengthMax ? `${text.slice(0, bodyLengthMax)}…` : text;
};
