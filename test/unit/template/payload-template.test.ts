/** Templates in secrets and configs; the texts are swarmkit's, but that nothing secret is in them. */
import { expect, test } from 'vitest';
import { expandPayload } from '../../../src/controlplane/template/payload-template.js';
import type { PayloadKind } from '../../../src/model/payloads.js';
import { SecretBytes } from '../../../src/model/secret-bytes.js';
import { service, task, taskSpec } from '../../support/cluster-objects.js';

const template = taskSpec();
const web = service('web', {
  labels: { tier: 'front' },
  taskTemplate: { ...template, container: { ...template.container, env: ['A=1=2', 'B', 'C={{.Node.ID}}'] } },
});
const others: Readonly<Record<string, Buffer>> = {
  'secret password': Buffer.from('pä$$'),
  'config site': Buffer.from('{{ not expanded }}'),
  'secret binary': Buffer.from([0xff, 0xfe]),
};

const expanded = (kind: PayloadKind, data: string | Buffer, templating = 'golang'): Buffer =>
  expandPayload(
    kind,
    { id: 'ID', data: new SecretBytes(Buffer.from(data)), templating },
    {
      task: task('t1', web, 'preparing', { slot: 3, node: 'n1' }),
      node: { id: 'n1', hostname: 'host-1', platform: { architecture: 'x86_64', os: 'linux' } },
      dataOf: (of, target) => others[`${of} ${target}`],
    },
  );

test.each([
  ['plain', 'plain'],
  ['{{ .Service.Name }}.{{ .Task.Slot }} on {{ .Node.Hostname }}', 'web.3 on host-1'],
  ['{{ index .Service.Labels "tier" }}', 'front'],
  ['password={{ secret "password" }};', 'password=pä$$;'],
  ['{{ config "site" }}', '{{ not expanded }}'],
  ['{{ env "A" }}|{{ env "B" }}|{{ env "C" }}|{{ env "D" }}', '1=2||{{.Node.ID}}|'],
  ['{{ if eq (env "A") "1=2" }}ä{{ end }}', 'ä'],
])('%s', (source, result) => {
  for (const kind of ['secret', 'config'] as const) expect(expanded(kind, source).toString()).toBe(result);
});

test('without a template every byte is kept', () => {
  const bytes = Buffer.from([0, 0xff, 0x7b, 0x7b]);
  expect(expanded('secret', bytes, '').equals(bytes)).toBe(true);
});

test.each<[PayloadKind, string | Buffer, string, string?]>([
  ['config', 'x', 'unrecognized template type', 'jinja'],
  [
    'config',
    '{{ config "nope" }}',
    'template: expansion:1:3: executing "expansion" at <config "nope">: error calling config: config target nope not found',
  ],
  ['config', '{{ nope }}', 'template: expansion:1: function "nope" not defined'],
  ['config', Buffer.from([0xff]), 'the template is no text: it is not in UTF-8'],
  [
    'config',
    '{{ if false }}x{{ end }}',
    'expanded config data must be larger than 0 and less than 1024000 bytes',
  ],
  [
    'secret',
    'a {{ THE-SECRET }}',
    'template: expansion:1: what is wrong there is not shown, for it is secret',
  ],
  [
    'config',
    '{{ slice (secret "password") 90 }}',
    'template: expansion:1:3: what is wrong there is not shown, for it is secret',
  ],
  [
    'config',
    '\n{{ secret "binary" }}',
    'template: expansion:2:3: what is wrong there is not shown, for it is secret',
  ],
])('%s %j fails', (kind, source, reason, templating) => {
  expect(() => expanded(kind, source, templating)).toThrow(
    expect.objectContaining({
      kind: 'invalidArgument',
      message: `failed to expand templated ${kind} ID: ${reason}`,
    }) as Error,
  );
});
