/** The expected values and texts are those that Docker's own Swarm mode (20.10) gave for the same service. */
import { describe, expect, test } from 'vitest';
import {
  expandContainer,
  templateContext,
  expandForNobody,
} from '../../../src/controlplane/template/container-template.js';
import { expand } from '../../../src/controlplane/template/expand.js';
import { service, task, taskSpec } from '../../support/cluster-objects.js';

const web = service('web', {});
const labelled = {
  ...task('t1', web, 'assigned', { slot: 3 }),
  serviceLabels: { tier: 'front', b: '2', a: '1' },
};
const node = { id: 'n1', hostname: 'vm', platform: { architecture: 'x86_64', os: 'linux' } };
const context = templateContext(labelled, node);

test.each([
  ['plain }} text', 'plain }} text'],
  ['{{.Service.Name}}.{{.Task.Slot}}.{{.Task.ID}}', 'web.3.t1'],
  ['{{ .Task.Name }}', 'web.3.t1'],
  [
    '{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}',
    'n1 vm linux/x86_64',
  ],
  ['{{index .Service.Labels "tier"}}', 'front'],
  ['{{index .Service.Labels "none"}}', ''],
  ['{{.Service.Labels.tier}}', 'front'],
  ['{{.Service.Labels}}', 'map[a:1 b:2 tier:front]'],
  ['{{.Node.Platform}}', '{x86_64 linux}'],
  ['{{join "," .Service.Name .Task.Slot}} {{join "," "a"}}', 'web,3 a'],
  ['{{if eq .Task.Slot "3"}}third{{else}}other{{end}}', 'third'],
  ['{{if eq .Task.Slot "1"}}first{{else if ne 1 2}}b{{else}}c{{end}}', 'b'],
  ['{{with .Service.Labels}}{{.tier}}{{else}}no{{end}}', 'front'],
  ['{{with ""}}{{.}}{{else}}no{{end}}', 'no'],
  ['{{range $k, $v := .Service.Labels}}{{$k}}={{$v}};{{end}}', 'a=1;b=2;tier=front;'],
  ['{{range .Service.Labels}}{{.}},{{else}}none{{end}}', '1,2,front,'],
  ['{{range $i, $e := .Service.Labels}}{{if eq $i "b"}}{{break}}{{end}}{{$i}}{{end}}', 'a'],
  ['{{range $i, $e := .Service.Labels}}{{if eq $i "b"}}{{continue}}{{end}}{{$i}} {{end}}', 'a tier '],
  ['{{$x := .Service.Name}}{{$x}}!', 'web!'],
  ['{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}', '2'],
  ['{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}', '1'],
  ['{{with .Node}}{{$.Service.Name}}{{end}}', 'web'],
  ['{{.Service.Name | printf "%s-%s" "a"}}', 'a-web'],
  ['{{printf "%q %v %d" .Service.Name .Task.Slot 5}}', '"web" 3 5'],
  ['{{printf "%03d|%5s|%-5s|%x" 7 "ab" "cd" "hi"}}', '007|   ab|cd   |6869'],
  ['{{printf "%d" "a"}} {{printf "%s"}} {{printf "x" 1}}', '%!d(string=a) %!s(MISSING) x%!(EXTRA int=1)'],
  ['{{len .Service.Name}} {{len .Service.Labels}} {{.Node.Hostname | len}}', '3 3 2'],
  ['{{slice .Service.Name 0 2}}', 'we'],
  ['{{print "a" 1 2 "b"}}{{println "a" "b"}}', 'a1 2ba b\n'],
  ['{{html "<a>"}} {{urlquery "a b&c"}}', '&lt;a&gt; a+b%26c'],
  ['{{and .Service.Name "x"}} {{or "" "y"}} {{not true}}', 'x y false'],
  [
    '{{eq .Service.Name "t1" "web"}} {{lt "a" "b"}} {{ge 2 1}} {{le 1 1}} {{gt 1 2}}',
    'true true true true false',
  ],
  ['{{/* a comment */}}x', 'x'],
  ['a {{- /* a comment */ -}} b', 'ab'],
  ['a {{- .Service.Name -}} b', 'awebb'],
  ["{{true}} {{1}} {{1.50}} {{'c'}} {{0x10}} {{1e3}} {{-3}}", 'true 1 1.5 99 16 1000 -3'],
  ['{{"a}}b"}} {{`r"w`}} {{"\\t\\u00e9"}}', 'a}}b r"w \té'],
  ['{{(index .Service.Labels "tier")}} {{(.Node).Platform.OS}}', 'front linux'],
  ['{{index .Service.Name 0}}', '119'],
  ['{{.Service.Name | index .Service.Labels}}', ''],
])('%s', (text, expanded) => {
  expect(expand(text, context)).toBe(expanded);
});

const at = (place: string, shown: string): string =>
  `template: expansion:${place}: executing "expansion" at <${shown}>: `;
const unnamed = 'struct { ID string; Name string; Labels map[string]string }';

test.each([
  ['{{.Service.Labels.none}}', at('1:10', '.Service.Labels.none') + 'map has no entry for key "none"'],
  ['{{.Service.Nope}}', `${at('1:10', '.Service.Nope')}can't evaluate field Nope in type ${unnamed}`],
  ['{{.Nope}}', `${at('1:2', '.Nope')}can't evaluate field Nope in type *template.Context`],
  [
    '{{.service.name}}',
    `${at('1:10', '.service.name')}can't evaluate field service in type *template.Context`,
  ],
  ['{{.Service.Name.Foo}}', `${at('1:10', '.Service.Name.Foo')}can't evaluate field Foo in type string`],
  ['{{upper .Service.Name}}', 'template: expansion:1: function "upper" not defined'],
  [
    '{{join .Service.Labels ","}}',
    `${at('1:15', '.Service.Labels')}wrong type for value; expected string; got map[string]string`,
  ],
  ['{{join}}', `${at('1:2', 'join')}error calling join: runtime error: slice bounds out of range [1:0]`],
  ['{{}}', 'template: expansion:1: missing value for command'],
  ['{{{{', 'template: expansion:1: unexpected "{" in command'],
  ['{{', 'template: expansion:1: unclosed action'],
  ['a {{"}}', 'template: expansion:1: unterminated quoted string'],
  ['{{eq 1 "a"}}', `${at('1:2', 'eq 1 "a"')}error calling eq: incompatible types for comparison`],
  ['{{eq}}', `${at('1:2', 'eq')}wrong number of args for eq: want at least 1 got 0`],
  ['{{.Task.Slot "x"}}', `${at('1:7', '.Task.Slot')}Slot has arguments but cannot be invoked as function`],
  ['{{"a" "b"}}', `${at('1:2', '"a"')}can't give argument to non-function "a"`],
  ['{{nil}}', `${at('1:2', 'nil')}nil is not a command`],
  [
    '{{index .Service.Labels 1}}',
    `${at('1:2', 'index .Service.Labels 1')}error calling index: value has type int; should be string`,
  ],
  ['{{if}}x{{end}}', 'template: expansion:1: missing value for if'],
  ['{{if true}}x', 'template: expansion:1: unexpected EOF'],
  ['{{end}}', 'template: expansion:1: unexpected {{end}}'],
  ['{{else}}', 'template: expansion:1: unexpected {{else}}'],
  ['{{$y}}', 'template: expansion:1: undefined variable "$y"'],
  ['{{if true}}{{$y := 1}}{{end}}{{$y}}', 'template: expansion:1: undefined variable "$y"'],
  ['{{break}}', 'template: expansion:1: {{break}} outside {{range}}'],
  ['a\n {{.Nope}}', `${at('2:3', '.Nope')}can't evaluate field Nope in type *template.Context`],
])('%s is refused', (text, reason) => {
  expect(() => expand(text, context)).toThrow(reason);
});

describe('what Go can and nobody needs in a field is refused, too', () => {
  test.each([
    ['{{define "x"}}X{{end}}{{template "x"}}', '{{define}} is not supported here'],
    ['{{block "a" .}}x{{end}}', '{{block}} is not supported here'],
    ['{{js "x"}}', 'function "js" not defined'],
    ['{{printf "%99999d" 1}}', 'more than 1000 characters wide'],
    ['{{if true}}'.repeat(51) + '{{end}}'.repeat(51), 'more than 50 levels'],
    ['('.repeat(60), undefined],
    [`{{${'('.repeat(60)}1${')'.repeat(60)}}}`, 'more than 50 levels'],
  ])('%s', (text, reason) => {
    if (reason === undefined) expect(expand(text, context)).toBe(text);
    else expect(() => expand(text, context)).toThrow(reason);
  });

  test('labels within labels end, however many there are', () => {
    const many = {
      ...labelled,
      serviceLabels: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'v'])),
    };
    const nested = '{{range $.Service.Labels}}'.repeat(10) + 'x' + '{{end}}'.repeat(10);
    expect(() => expand(nested, templateContext(many, node))).toThrow(/more than \d+ (steps|characters)/);
  });
});

test('a task of a node has its node in the slot', () => {
  const global = templateContext({ ...labelled, slot: undefined, nodeId: 'n1' } as never, node);
  expect(expand('{{.Task.Slot}} {{.Task.Name}}', global)).toBe('n1 web.n1.t1');
});

const volume = {
  type: 'volume' as const,
  source: 'data-{{.Task.Slot}}',
  target: '/{{.Service.Name}}',
  readOnly: false,
  volumeOptions: {
    labels: { '{{.Nope}}': '{{.Service.Name}}' },
    driverConfig: { name: '{{.Nope}}', options: { o: 'size={{.Task.Slot}}m' } },
  },
};
const spec = {
  ...taskSpec().container,
  image: 'a{{.Nope}}',
  labels: { l: '{{.Nope}}' },
  command: ['{{.Nope}}'],
  dir: '/{{.Nope}}',
  hostname: '{{.Service.Name}}',
  env: ['{{.Nope}}={{.Task.Slot}}={{.Task.Slot}}', 'PLAIN{{.Nope}}', 'EMPTY='],
  mounts: [volume],
};

test('values of env, hostname, and texts of mounts are expanded, nothing else', () => {
  expect(expandContainer(spec, context)).toEqual({
    ...spec,
    hostname: 'web',
    env: ['{{.Nope}}=3=3', 'PLAIN{{.Nope}}', 'EMPTY='],
    mounts: [
      {
        ...volume,
        source: 'data-3',
        target: '/web',
        volumeOptions: {
          labels: { '{{.Nope}}': 'web' },
          driverConfig: { name: '{{.Nope}}', options: { o: 'size=3m' } },
        },
      },
    ],
  });
});

const nope = `${at('1:2', '.Nope')}can't evaluate field Nope in type *template.Context`;
const bad = '{{.Nope}}';

test.each([
  [{ env: [`A=${bad}`], hostname: bad }, `expanding env failed: expanding env "A={{.Nope}}": ${nope}`],
  [{ hostname: bad }, `expanding hostname failed: ${nope}`],
  [
    { mounts: [{ ...volume, target: bad }], hostname: bad },
    `expanding mounts failed: expanding mount target "{{.Nope}}": ${nope}`,
  ],
  [
    { mounts: [{ ...volume, volumeOptions: { labels: { q: bad } } }] },
    `expanding mounts failed: expanding volume labels: expanding map entry "q"="{{.Nope}}": ${nope}`,
  ],
  [
    { mounts: [{ ...volume, volumeOptions: { driverConfig: { name: '', options: { q: bad } } } }] },
    `expanding mounts failed: expanding volume driver config: expanding map entry "q"="{{.Nope}}": ${nope}`,
  ],
])('%j: the error says where', (over, text) => {
  const container = { ...spec, ...over };
  expect(() => expandContainer(container, context)).toThrow(text);
  const asked = service('web', {}).spec;
  expect(() => expandForNobody({ ...asked, taskTemplate: { ...asked.taskTemplate, container } })).toThrow(
    text,
  );
});
