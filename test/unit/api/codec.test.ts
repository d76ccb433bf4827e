/** The texts and shapes here were recorded from dockerd 20.10.24 (API 1.41). */
import { describe, expect, test } from 'vitest';
import { decodeAs } from '../../../src/controlplane/api/convert/codec.js';
import { insertDefaults } from '../../../src/controlplane/api/convert/insert-defaults.js';
import { formatJson, parseJson } from '../../../src/controlplane/api/convert/json.js';
import { clusterSpec, nodeSpec } from '../../../src/controlplane/api/convert/objects.js';
import { serviceSpec } from '../../../src/controlplane/api/convert/service.js';
import { formatTime } from '../../../src/controlplane/api/convert/codec.js';

const parse = (text: string) => parseJson(text, { truncated: 'unexpected EOF', allowTrailing: true });

describe('syntax errors have encoding/json’s words', () => {
  const cases: [text: string, message: string][] = [
    ['{"a":}', "invalid character '}' looking for beginning of value"],
    ['g', "invalid character 'g' looking for beginning of value"],
    ['{"a":1', 'unexpected EOF'],
    ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b"}', `invalid character '"' after object key:value pair`],
    ['[1 2]', "invalid character '2' after array element"],
    ['tru3', "invalid character '3' in literal true (expecting 'e')"],
    ['"\\x"', "invalid character 'x' in string escape code"],
    ['"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ['1.x', "invalid character 'x' after decimal point in numeric literal"],
    ['-x', "invalid character 'x' in numeric literal"],
    ['1ex', "invalid character 'x' in exponent of numeric literal"],
    ["'a'", "invalid character '\\'' looking for beginning of value"],
  ];
  test.each(cases)('%s', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  // Was read by recursion: 4,000 levels overflowed the stack on some runs, which was answered as a failure inside.
  test.each([
    ['[', ']'],
    ['{"a":', '}'],
  ])('ten thousand levels of %s…%s are read and written again, one more is refused', (open, close) => {
    const nested = (levels: number) => open.repeat(levels) + (open === '[' ? '' : '1') + close.repeat(levels);
    expect(formatJson(parse(nested(10_000)))).toBe(nested(10_000));
    expect(() => parse(nested(10_001))).toThrow('exceeded max depth');
  });

  test('what is written again is what was read, without the space', () => {
    const text = '{"a":[],"b":{},"c":[1.0,{"d":"\\n","a":[null,true]},"x"],"a":-1e3}';
    expect(formatJson(parse(text.replaceAll(/([,:[\]{}])/g, ' $1\t')))).toBe(text);
  });

  test('trailing data is refused only where it must be', () => {
    expect(parse('1 x')).toBeDefined();
    expect(() => parseJson('1 x', { truncated: 'unexpected EOF', allowTrailing: false })).toThrow(
      "invalid character 'x' after top-level value",
    );
  });
});

describe('wrong types have encoding/json’s words', () => {
  const into = 'json: cannot unmarshal';
  const cases: [text: string, message: string][] = [
    ['{"Name":5}', `${into} number into Go struct field ServiceSpec.Name of type string`],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Image":5}}}',
      `${into} number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Image of type string`,
    ],
    [
      '{"TaskTemplate":5}',
      `${into} number into Go struct field ServiceSpec.TaskTemplate of type swarm.TaskSpec`,
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Env":"x"}}}',
      `${into} string into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Env of type []string`,
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Env":[1]}}}',
      `${into} number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Env of type string`,
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":5}]}}}',
      `${into} number into Go struct field Mount.TaskTemplate.ContainerSpec.Mounts.Type of type mount.Type`,
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"StopGracePeriod":1.5}}}',
      `${into} number 1.5 into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.StopGracePeriod of type time.Duration`,
    ],
    [
      '{"Mode":{"Replicated":{"Replicas":-1}}}',
      `${into} number -1 into Go struct field ReplicatedService.Mode.Replicated.Replicas of type uint64`,
    ],
    [
      '{"Mode":{"Replicated":{"Replicas":"x"}}}',
      `${into} string into Go struct field ReplicatedService.Mode.Replicated.Replicas of type uint64`,
    ],
    ['{"Labels":{"a":1}}', `${into} number into Go struct field ServiceSpec.Labels of type string`],
    ['{"Labels":[]}', `${into} array into Go struct field ServiceSpec.Labels of type map[string]string`],
    ['[]', `${into} array into Go value of type swarm.ServiceSpec`],
    [
      '{"UpdateConfig":{"MaxFailureRatio":"x","Parallelism":"y"}}',
      `${into} string into Go struct field UpdateConfig.UpdateConfig.MaxFailureRatio of type float32`,
    ],
    [
      '{"EndpointSpec":{"Ports":[{"TargetPort":99999999999}]}}',
      `${into} number 99999999999 into Go struct field PortConfig.EndpointSpec.Ports.TargetPort of type uint32`,
    ],
    [
      '{"EndpointSpec":{"Ports":[{"TargetPort":true}]}}',
      `${into} bool into Go struct field PortConfig.EndpointSpec.Ports.TargetPort of type uint32`,
    ],
    [
      '{"EndpointSpec":{"Mode":1}}',
      `${into} number into Go struct field EndpointSpec.EndpointSpec.Mode of type swarm.ResolutionMode`,
    ],
    [
      '{"TaskTemplate":{"Placement":{"Preferences":[{"Spread":3}]}}}',
      `${into} number into Go struct field PlacementPreference.TaskTemplate.Placement.Preferences.Spread of type swarm.SpreadOver`,
    ],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Init":3,"TTY":"x"}}}',
      `${into} number into Go struct field ContainerSpec.TaskTemplate.ContainerSpec.Init of type bool`,
    ],
  ];
  test.each(cases)('%s', (text, message) => {
    expect(() => decodeAs(serviceSpec, parse(text), 41)).toThrow(message);
  });

  test('of nested structs that the model flattens', () => {
    expect(() =>
      decodeAs(clusterSpec, parse('{"Orchestration":{"TaskHistoryRetentionLimit":"x"}}'), 41),
    ).toThrow(
      `${into} string into Go struct field OrchestrationConfig.Orchestration.TaskHistoryRetentionLimit of type int64`,
    );
    expect(() => decodeAs(nodeSpec, parse('{"Role":5}'), 41)).toThrow(
      `${into} number into Go struct field NodeSpec.Role of type swarm.NodeRole`,
    );
  });
});

describe('what is well typed and means nothing', () => {
  const container = '"ContainerSpec":{"Image":"busybox"}';
  const cases: [text: string, message: string][] = [
    ['{}', 'mismatched Runtime and *Spec fields'],
    ['null', 'mismatched Runtime and *Spec fields'],
    [`{"TaskTemplate":{"Runtime":"plugin",${container}}}`, 'mismatched Runtime and *Spec fields'],
    [`{"TaskTemplate":{"Runtime":"attachment",${container}}}`, 'unsupported runtime'],
    ['{"TaskTemplate":{"Runtime":"plugin","PluginSpec":{}}}', 'plugin services are not supported'],
    [
      `{"Mode":{"Global":{},"Replicated":{}},"TaskTemplate":{${container}}}`,
      'must specify only one service mode',
    ],
    [
      `{"TaskTemplate":{${container},"RestartPolicy":{"Condition":"bogus"}}}`,
      'invalid RestartCondition: "bogus"',
    ],
    [
      `{"TaskTemplate":{${container}},"UpdateConfig":{"FailureAction":"zz"}}`,
      'unrecognized update failure action zz',
    ],
    [`{"TaskTemplate":{${container}},"UpdateConfig":{"Order":"zz"}}`, 'unrecognized update order zz'],
    [`{"TaskTemplate":{${container}},"EndpointSpec":{"Mode":"zz"}}`, 'invalid resolution mode: "zz"'],
    ['{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bogus"}]}}}', 'invalid MountType: "bogus"'],
    [
      '{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"BindOptions":{"Propagation":"zz"}}]}}}',
      'invalid MountPropagation: "zz"',
    ],
    ...[
      ['{"Type":"npipe"}', 'invalid MountType: "npipe": named pipes are of Windows'],
      ['{"Type":"cluster"}', 'invalid MountType: "cluster": cluster volumes are not supported'],
    ].map(([mount = '', message = '']): [string, string] => [
      `{"TaskTemplate":{"ContainerSpec":{"Mounts":[${mount}]}}}`,
      message,
    ]),
    ...[
      ['"Isolation":"hyperv"', "invalid isolation 'hyperv' on linux"],
      ['"Isolation":"Process"', "invalid isolation 'process' on linux"],
      [
        '"Privileges":{"CredentialSpec":{}}',
        'invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec',
      ],
      [
        '"Privileges":{"CredentialSpec":{"config":"a","File":"b"}}',
        'invalid CredentialSpec: cannot specify both "config" and "file" credential specs',
      ],
      [
        '"Privileges":{"CredentialSpec":{"Config":"a","File":"b","Registry":"c"}}',
        'invalid CredentialSpec: cannot specify both "config", "file", and "registry" credential specs',
      ],
      [
        '"Privileges":{"CredentialSpec":{"File":"b"}}',
        'invalid CredentialSpec: credential specs are of Windows, and there are no nodes of Windows',
      ],
      ['"Privileges":{"Seccomp":{"Mode":"zz"}}', 'invalid seccomp mode: "zz"'],
      ['"Privileges":{"Seccomp":{"Profile":"?"}}', 'illegal base64 data'],
      [
        '"Privileges":{"Seccomp":{"Mode":"custom"}}',
        'invalid seccomp profile: mode "custom" needs a profile in JSON',
      ],
      ['"Privileges":{"AppArmor":{"Mode":"zz"}}', 'invalid AppArmor mode: "zz"'],
    ].map(([field = '', message = '']): [string, string] => [
      `{"TaskTemplate":{"ContainerSpec":{${field}}}}`,
      message,
    ]),
  ];
  test.each(cases)('%s', (text, message) => {
    expect(() => decodeAs(serviceSpec, parse(text), 44)).toThrow(message);
  });

  test('type faults come first, as dockerd converts after it decodes', () => {
    expect(() => decodeAs(serviceSpec, parse('{"EndpointSpec":{"Mode":"zz"},"Name":5}'), 41)).toThrow(
      'json: cannot unmarshal',
    );
  });
});

describe('a spec comes back as dockerd shows it', () => {
  const shown = (text: string, minor = 41): unknown =>
    serviceSpec.encode(decodeAs(serviceSpec, parse(text), minor), minor);

  test('nearly nothing said', () => {
    expect(
      shown('{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"busybox"}},"UpdateConfig":{}}'),
    ).toEqual({
      Name: 'a',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: { Image: 'busybox', Isolation: 'default' },
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: { Replicated: { Replicas: 1 } },
      UpdateConfig: { Parallelism: 0, FailureAction: 'pause', MaxFailureRatio: 0, Order: 'stop-first' },
    });
  });

  test('much said, unknown fields and nulls ignored, keys in any case', () => {
    const text =
      '{"name":"full","Labels":{"x":"y"},"Bogus":1,"Networks":null,"TaskTemplate":{"ContainerSpec":{"IMAGE":"busybox",' +
      '"Env":["A=b"],"Mounts":[{"Type":"volume","Source":"v","Target":"/v"},{"Type":"tmpfs","Target":"/t","TmpfsOptions":{}}],' +
      '"Healthcheck":{},"Privileges":{"CredentialSpec":null},"Hosts":[],"Init":false,"DNSConfig":{}},' +
      '"Resources":{"Limits":{"NanoCPUs":1000000,"MemoryBytes":8000000},"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"gpu","Value":2}}]}},"RestartPolicy":{},' +
      '"Placement":{"Preferences":[{"Spread":{"SpreadDescriptor":"node.id"}}]}},"RollbackConfig":{"Delay":0},' +
      '"EndpointSpec":{"Ports":[{"TargetPort":99,"Protocol":"zzz"}]}}';
    expect(shown(text)).toEqual({
      Name: 'full',
      Labels: { x: 'y' },
      TaskTemplate: {
        ContainerSpec: {
          Image: 'busybox',
          Env: ['A=b'],
          Init: false,
          Mounts: [
            { Type: 'volume', Source: 'v', Target: '/v' },
            { Type: 'tmpfs', Target: '/t', TmpfsOptions: {} },
          ],
          Healthcheck: {},
          Privileges: { CredentialSpec: null, SELinuxContext: null },
          DNSConfig: {},
          Isolation: 'default',
        },
        Resources: {
          Limits: { NanoCPUs: 1000000, MemoryBytes: 8000000 },
          Reservations: { GenericResources: [{ DiscreteResourceSpec: { Kind: 'gpu', Value: 2 } }] },
        },
        RestartPolicy: { Condition: 'any', MaxAttempts: 0 },
        Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.id' } }] },
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: { Replicated: { Replicas: 1 } },
      RollbackConfig: { Parallelism: 0, FailureAction: 'pause', MaxFailureRatio: 0, Order: 'stop-first' },
      EndpointSpec: { Mode: 'vip', Ports: [{ Protocol: 'tcp', TargetPort: 99, PublishMode: 'ingress' }] },
    });
  });

  const shownContainer = (container: string, minor: number): unknown => {
    const spec = shown(`{"TaskTemplate":{"ContainerSpec":{${container}}}}`, minor);
    return (spec as { TaskTemplate: { ContainerSpec: unknown } }).TaskTemplate.ContainerSpec;
  };

  test('privileges, and of an older client those that it can know', () => {
    const sent =
      '"Isolation":"foo","Privileges":{"SELinuxContext":{"User":"u"},"Seccomp":{"Mode":"custom","Profile":"e30="},' +
      '"AppArmor":{"Mode":"disabled"},"NoNewPrivileges":true}';
    const context = { Disable: false, User: 'u', Role: '', Type: '', Level: '' };
    const old = { CredentialSpec: null, SELinuxContext: context };
    expect(shownContainer(sent, 43)).toEqual({ Privileges: old, Isolation: 'default' });
    expect(shownContainer(sent, 44)).toEqual({
      Privileges: {
        ...old,
        Seccomp: { Mode: 'custom', Profile: 'e30=' },
        AppArmor: { Mode: 'disabled' },
        NoNewPrivileges: true,
      },
      Isolation: 'default',
    });
  });

  test.each([
    [
      '{"Type":"Bind","BindOptions":{"Propagation":"Shared"}}',
      41,
      { Type: 'bind', BindOptions: { Propagation: 'shared' } },
    ],
    ['{"Consistency":"cached","BindOptions":{}}', 41, { Type: 'bind' }],
    [
      '{"BindOptions":{"NonRecursive":true,"ReadOnlyForceRecursive":true}}',
      43,
      { Type: 'bind', BindOptions: { Propagation: 'rprivate', NonRecursive: true } },
    ],
    [
      '{"Type":"tmpfs","TmpfsOptions":{"SizeBytes":5,"Options":[["uid","5"],["exec"]]}}',
      46,
      { Type: 'tmpfs', TmpfsOptions: { SizeBytes: 5, Options: [['uid', '5'], ['exec']] } },
    ],
    ['{"Type":"tmpfs","TmpfsOptions":{"Options":[["exec"]]}}', 45, { Type: 'tmpfs', TmpfsOptions: {} }],
  ])('a mount as Swarm keeps it: %s of 1.%i', (sent, minor, expected) => {
    expect(shownContainer(`"Mounts":[${sent}]`, minor)).toEqual({ Mounts: [expected], Isolation: 'default' });
  });

  test('what is shown decodes to the same again', () => {
    const text =
      '{"Name":"r","Mode":{"Global":{}},"TaskTemplate":{"ContainerSpec":{"Image":"a:b","Args":["x"],"StopGracePeriod":0,' +
      '"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"Sysctls":{"a":"b"},"Mounts":[{"Type":"bind","Source":"/s","Target":"/t",' +
      '"BindOptions":{"Propagation":"rslave"}}]},"RestartPolicy":{"Condition":"none","Delay":0,"MaxAttempts":3,"Window":5},' +
      '"Networks":[{"Target":"n","Aliases":["x"]}],"LogDriver":{"Name":"json-file","Options":{"tag":"t"}}}}';
    const spec = decodeAs(serviceSpec, parse(text), 41);
    const again = decodeAs(serviceSpec, parse(JSON.stringify(serviceSpec.encode(spec, 41))), 41);
    expect(again).toEqual(spec);
    expect(again.taskTemplate.restartPolicy?.delayNs).toBe(0);
    expect(again.taskTemplate.container.stopGracePeriodNs).toBe(0);
  });

  test('insertDefaults says what is assumed', () => {
    const spec = decodeAs(
      serviceSpec,
      parse('{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"b"}},"UpdateConfig":{}}'),
      41,
    );
    expect(serviceSpec.encode(insertDefaults(spec), 41)).toEqual({
      Name: 'a',
      Labels: {},
      TaskTemplate: {
        ContainerSpec: { Image: 'b', StopGracePeriod: 10e9, DNSConfig: {}, Isolation: 'default' },
        Resources: {},
        RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 0 },
        Placement: {},
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: { Replicated: { Replicas: 1 } },
      UpdateConfig: {
        Parallelism: 0,
        FailureAction: 'pause',
        Monitor: 5e9,
        MaxFailureRatio: 0,
        Order: 'stop-first',
      },
      RollbackConfig: {
        Parallelism: 1,
        FailureAction: 'pause',
        Monitor: 5e9,
        MaxFailureRatio: 0,
        Order: 'stop-first',
      },
    });
  });

  test('fields newer than the request’s version are not taken', () => {
    const text =
      '{"TaskTemplate":{"ContainerSpec":{"Image":"b","CapabilityAdd":["A"],"Sysctls":{"a":"b"}},"Placement":{"MaxReplicas":2}},' +
      '"Mode":{"GlobalJob":{}}}';
    const old = decodeAs(serviceSpec, parse(text), 39);
    expect(old.taskTemplate.container).toMatchObject({ capabilityAdd: [], sysctls: {} });
    expect(old.taskTemplate.placement?.maxReplicas).toBe(0);
    expect(old.mode).toEqual({ kind: 'replicated', replicas: 1 });
    expect(decodeAs(serviceSpec, parse(text), 41).mode).toEqual({ kind: 'global-job' });
  });

  test('registry credentials are never shown', () => {
    const spec = decodeAs(serviceSpec, parse('{"TaskTemplate":{"ContainerSpec":{"Image":"b"}}}'), 41);
    const secret = {
      ...spec,
      taskTemplate: {
        ...spec.taskTemplate,
        container: { ...spec.taskTemplate.container, registryAuth: 'hush' },
      },
    };
    expect(JSON.stringify(serviceSpec.encode(secret, 41))).not.toContain('hush');
  });
});

test('times are RFC 3339 with Go’s trailing zeros cut', () => {
  expect(formatTime(1_700_000_000_000)).toBe('2023-11-14T22:13:20Z');
  expect(formatTime(1_700_000_000_120)).toBe('2023-11-14T22:13:20.12Z');
  expect(formatTime(1_700_000_000_012)).toBe('2023-11-14T22:13:20.012Z');
  expect(formatTime(0)).toBe('0001-01-01T00:00:00Z');
});
