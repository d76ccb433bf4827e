import { expect, test } from 'vitest';
import { expand, expandContainer, templateContext } from '../../../src/controlplane/agent/template.js';
import { service, task, taskSpec } from '../../support/cluster-objects.js';

const web = service('web', {});
const labelled = { ...task('t1', web, 'assigned', { slot: 3 }), serviceLabels: { tier: 'front' } };
const node = { id: 'n1', hostname: 'host-1', platform: { architecture: 'x86_64', os: 'linux' } };
const context = templateContext(labelled, node);

test.each([
  ['plain', 'plain'],
  ['{{.Service.Name}}.{{.Task.Slot}}.{{.Task.ID}}', 'web.3.t1'],
  ['{{ .Task.Name }}', 'web.3.t1'],
  [
    '{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}',
    'n1 host-1 linux/x86_64',
  ],
  ['{{index .Service.Labels "tier"}}', 'front'],
  ['{{index .Service.Labels "none"}}', ''],
  ['{{.Service.Labels.tier}}', 'front'],
  ['{{"a}}b"}}', 'a}}b'],
  ['a {{- .Service.Name -}} b', 'awebb'],
  ['{{{{', '{{{{'],
])('%s', (text, expanded) => {
  expect(expand(text, context)).toBe(expanded);
});

test.each([
  ['{{.Service.Nope}}', /can't evaluate field Nope/],
  ['{{.Service.Labels}}', /not a text/],
  ['{{upper .Service.Name}}', /can't give argument|not defined/],
  ['{{join .Service.Labels ","}}', /wrong type/],
  ['{{}}', /missing value/],
])('%s is refused', (text, reason) => {
  expect(() => expand(text, context)).toThrow(reason);
});

test('a global task has its node in the slot', () => {
  const global = templateContext(task('t2', web, 'assigned', { bound: true }), node);
  expect(expand('{{.Task.Slot}}', global)).toBe('n1');
});

test('only the documented fields are expanded, and errors say which', () => {
  const spec = {
    ...taskSpec().container,
    hostname: '{{.Service.Name}}',
    env: ['{{.Service.Name}}={{.Task.Slot}}', 'PLAIN'],
    args: ['{{.Service.Name}}'],
    mounts: [{ type: 'bind' as const, source: '/{{.Node.ID}}', target: '/x', readOnly: false }],
  };
  expect(expandContainer(spec, context)).toMatchObject({
    hostname: 'web',
    env: ['{{.Service.Name}}=3', 'PLAIN'],
    args: ['{{.Service.Name}}'],
    mounts: [{ source: '/n1' }],
  });
  expect(() => expandContainer({ ...spec, env: ['A={{.X}}'] }, context)).toThrow(/^expanding env failed: /);
});
