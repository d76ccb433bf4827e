/** Reading: what goes before what, and each thing that can be wrong, with the line it is on. */
import { describe, expect, test } from 'vitest';
import { findingText } from '../../../src/options/finding.js';
import type { Environment } from '../../../src/options/read.js';
import { readOptions } from '../../../src/options/read.js';
import type { OptionName } from '../../../src/options/table.js';
import { options } from '../../../src/options/table.js';
import { tomlText } from '../../../src/options/data.js';
import type { OptionData } from '../../../src/options/data.js';

const said = (text: string | undefined, env: Environment = {}): unknown[][] =>
  options.flatMap(({ name, kind }) => {
    const { values, origins } = readOptions(text, env);
    return origins[name] === 'default' ? [] : [[name, kind.toData(values[name]), origins[name]]];
  });
const found = (text: string, env: Environment = {}): string[] =>
  readOptions(text, env).findings.map(
    ({ line, daemons, what, todo }) => `${line}: ${daemons.join('+')}: ${what} -> ${todo}`,
  );

test('no file is all defaults', () => {
  expect(readOptions(undefined, {})).toMatchObject({ findings: [] });
  expect(said(undefined)).toEqual([]);
  expect(said('')).toEqual([]);
});

test.each(options.map((option) => [option.name, option] as const))(
  '%s: the environment goes before the file, the file before the default',
  (name, option) => {
    const { kind, table, key, env, example } = option;
    const inFile = (data: OptionData): string => `[${table}]\n${key} = ${tomlText(data)}\n`;
    const inEnvironment = {
      [env]: typeof example === 'object' ? example.join(',') : example === true ? '1' : String(example),
    };
    const usual = kind.toData(option.default);
    const read = (text: string | undefined, from: Environment): unknown[] => {
      const { values, origins } = readOptions(text, from);
      return [kind.toData(values[name]), origins[name]];
    };
    expect(example).not.toEqual(usual);
    expect(read(undefined, {})).toEqual([usual, 'default']);
    expect(read(inFile(usual), {})).toEqual([usual, 'file']);
    expect(read(inFile(example), {})).toEqual([example, 'file']);
    expect(read(inFile(usual), inEnvironment)).toEqual([example, 'environment']);
  },
);

describe('the environment is read as it always was', () => {
  test.each<[Environment, OptionName, unknown]>([
    [{ SKEP_STATE_DIR: 'here' }, 'paths.state-dir', 'here'],
    [{ SKEP_ENGINE: 'tcp://127.0.0.1:2375' }, 'engine.address', 'tcp://127.0.0.1:2375'],
    [{ DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: '1' }, 'engine.prefer-offline-images', true],
    [{ DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: 'true' }, 'engine.prefer-offline-images', false],
    [{ DOCKER_SERVICE_PREFER_OFFLINE_IMAGE: '' }, 'engine.prefer-offline-images', false],
    [{ SKEP_HOSTS: ' tcp://192.0.2.1 ,' }, 'api.hosts', [{ host: '192.0.2.1', port: 2376 }]],
    [{ SKEP_GROUP: '' }, 'api.group', ''],
    [{ SKEP_ALLOW: ' devices=/dev/x , privileged,' }, 'services.allow', ['devices=/dev/x', 'privileged']],
    [{ SKEP_CONTROLPLANE_METRICS: '' }, 'metrics.controlplane-address', null],
    [{ SKEP_DATAPLANE_METRICS: '[::1]:9' }, 'metrics.dataplane-address', { host: '::1', port: 9 }],
  ])('%j', (env, name, value) => {
    const { values, origins, findings } = readOptions('[services]\nallow = ["shm-size"]', env);
    expect([values[name], origins[name], findings]).toEqual([value, 'environment', []]);
  });

  test('an allowance that means nothing allows nothing, whatever the file allows, and skepd starts', () => {
    const { values, findings } = readOptions('[services]\nallow = ["privileged"]', { SKEP_ALLOW: 'all' });
    expect(values['services.allow']).toEqual([]);
    expect(findings).toMatchObject([
      {
        tolerated: true,
        what: 'SKEP_ALLOW: "all" is none of devices=/dev/NAME, privileged, shm-size',
        means: 'services are allowed nothing of this host',
      },
    ]);
  });

  test.each([
    ['SKEP_BALANCER', 'nft', 'skep-dataplane', '"nft" is none of auto, ipvs, ebpf'],
    ['SKEP_LOG', 'loud', 'skepd+skep-dataplane', '"loud" is none of trace, debug, info'],
    ['SKEP_HOSTS', '0.0.0.0:1', 'skepd', '"0.0.0.0:1" is none of tcp://ADDRESS:PORT; the unix socket is'],
    ['SKEP_HOSTS', 'tcp://0.0.0.0:99999', 'skepd', 'is none of tcp://ADDRESS:PORT'],
    ['SKEP_HOSTS', 'tcp://host.example', 'skepd', 'is none of tcp://ADDRESS:PORT'],
    ['SKEP_HOSTS', 'unix:///run/x.sock', 'skepd', 'the unix socket is always there'],
    ['SKEP_DATAPLANE_METRICS', '9471', 'skep-dataplane', '"9471" is not ADDRESS:PORT'],
  ])('%s=%s is no start of %s', (variable, text, daemons, words) => {
    const { findings } = readOptions(undefined, { [variable]: text });
    expect(findings).toHaveLength(1);
    expect(findings[0]).not.toHaveProperty('tolerated');
    expect(findings[0]?.daemons.join('+')).toBe(daemons);
    expect(findings[0]?.what).toContain(`${variable}: `);
    expect(findings[0]?.what).toContain(words);
  });
});

describe('what is wrong in the file', () => {
  const both = 'skepd+skep-dataplane';
  test.each([
    // Names.
    ['\n[apii]\nhosts = []', `2: ${both}: there is no table "apii" -> did you mean [api]? Then rename it`],
    ['level = "info"', `1: ${both}: there is no table "level" -> say level below [log]`],
    ['SKEP_HOSTS = "x"', `1: ${both}: there is no table "SKEP_HOSTS" -> say hosts below [api]`],
    ['[swarm]', `1: ${both}: there is no table "swarm" -> remove it, or choose among [paths], [engine],`],
    ['[api]\n\nhost = []', '3: skepd: [api] has no option "host" -> did you mean hosts? Then rename it'],
    ['[api]\ntls_ca = ""', '2: skepd: [api] has no option "tls_ca" -> did you mean tls-ca? Then rename it'],
    [
      '[paths]\nbpf-dir = "/x"',
      `2: ${both}: [paths] has no option "bpf-dir" -> say bpf-dir below [balancer]`,
    ],
    ['[log]\nSKEP_LOG = "x"', `2: ${both}: [log] has no option "SKEP_LOG" -> say level below [log]`],
    ['[log]\nformat = "x"', `2: ${both}: [log] has no option "format" -> remove it, or choose among level;`],
    [
      '[balancer]\nenigne = 1',
      '2: skep-dataplane: [balancer] has no option "enigne" -> did you mean engine?',
    ],
    ['__proto__ = 1', `1: ${both}: there is no table "__proto__"`],
    ['[log]\nconstructor = 1', `2: ${both}: [log] has no option "constructor"`],
    ['log.levle = "info"', `1: ${both}: [log] has no option "levle" -> did you mean level?`],
    ['[api.tls]\nca = "x"', '1: skepd: [api] has no option "tls"'],
    // Types.
    ['api = 3', `1: ${both}: api is a number and not a table of options -> begin the table once with [api]`],
    ['[[log]]\nlevel = "info"', `1: ${both}: log is a list and not a table of options`],
    ['[log]\nlevel = 3', `2: ${both}: [log] level: is a number and not one of trace, debug,`],
    [
      '[engine]\nprefer-offline-images = "true"',
      '2: skepd: [engine] prefer-offline-images: is a string and not true or false, without quotes',
    ],
    [
      '[engine]\nprefer-offline-images = 1',
      '2: skepd: [engine] prefer-offline-images: is a number and not true or false',
    ],
    [
      '[api]\nhosts = "tcp://0.0.0.0:1"',
      '2: skepd: [api] hosts: is a string and not a list of tcp://ADDRESS:PORT -> say for example hosts = ["tcp://0.0.0.0:2376"], or remove it for []',
    ],
    ['[api]\nhosts = [\n  1,\n]', '2: skepd: [api] hosts: has a number in its list of tcp://ADDRESS:PORT'],
    ['[paths]\nrun-dir = 1979-05-27', `2: ${both}: [paths] run-dir: is a date and not a path`],
    ['[paths]\nrun-dir = { at = 1 }', `2: ${both}: [paths] run-dir: is a table and not a path`],
    // Values.
    [
      '[log]\nlevel = "loud"',
      `2: ${both}: [log] level: "loud" is none of trace, debug, info, warn, error, fatal, silent -> say for example level = "debug", or remove it for "info"`,
    ],
    ['[balancer]\nengine = "nft"', '2: skep-dataplane: [balancer] engine: "nft" is none of auto, ipvs, ebpf'],
    ['[balancer]\nengine = ""', '2: skep-dataplane: [balancer] engine: "" is none of auto, ipvs, ebpf'],
    [
      '[paths]\nstate-dir = "skep"',
      `2: ${both}: [paths] state-dir: is not a path that begins with a slash -> say for example state-dir = "/srv/skep", or remove it for "/var/lib/skep"`,
    ],
    ['[paths]\nstate-dir = ""', `2: ${both}: [paths] state-dir: is not a path that begins with a slash`],
    [
      '[engine]\naddress = "tcp://10.0.0.1:2375"',
      `2: ${both}: [engine] address: "tcp://10.0.0.1:2375" is not unix:///PATH`,
    ],
    ['[api]\ngroup = "a b"', '2: skepd: [api] group: "a b" cannot be a group\'s name'],
    [
      '[metrics]\ndataplane-address = "localhost:9471"',
      '2: skep-dataplane: [metrics] dataplane-address: "localhost:9471" is not ADDRESS:PORT, with an address',
    ],
    [
      '[metrics]\ncontrolplane-address = "127.0.0.1"',
      '2: skepd: [metrics] controlplane-address: "127.0.0.1" is not ADDRESS:PORT',
    ],
    [
      '[metrics]\ncontrolplane-address = "127.0.0.1:65536"',
      '2: skepd: [metrics] controlplane-address: "127.0.0.1:65536" is not',
    ],
    [
      '[services]\nallow = ["devices=/etc/passwd"]',
      '2: skepd: [services] allow: "devices=/etc/passwd" is none of devices=/dev/NAME,',
    ],
    [
      '[services]\nallow = ["shm-size,privileged"]',
      '2: skepd: [services] allow: "shm-size,privileged" is none of',
    ],
    ['[services]\nallow = [""]', '2: skepd: [services] allow: "" is none of'],
    // What must be had together.
    [
      '[api]\nhosts = ["tcp://0.0.0.0"]',
      '2: skepd: [api] hosts is there without tls-ca, tls-cert, tls-key -> set tls-ca, tls-cert, tls-key to paths of PEM files, or remove hosts',
    ],
    [
      '[api]\ntls-ca = "/ca"\nhosts = ["tcp://0.0.0.0"]\ntls-cert = "/c"\ntls-key = ""',
      '3: skepd: [api] hosts is there without tls-key',
    ],
    [
      '[api]\n#\ntls-cert = "/c"\ntls-key = "/k"',
      '3: skepd: [api] tls-cert is there without tls-ca -> set tls-ca to paths of PEM files, or remove tls-cert, tls-key',
    ],
    [
      '[metrics]\ndataplane-address = "127.0.0.1:9472"',
      '2: skepd: [metrics] both daemons are to serve their metrics at 127.0.0.1:9472',
    ],
    [
      '[metrics]\ndataplane-address = "[::1]:1"\ncontrolplane-address = "[::1]:1"',
      '3: skepd: [metrics] both daemons are to serve their metrics at [::1]:1',
    ],
    // No TOML.
    ['[log]\nlevel = ', `2: ${both}: column 9: invalid value -> mend that line`],
    [
      '[log]\nlevel = "info"\n[log]',
      `3: ${both}: column 2: trying to redefine an already defined table or value`,
    ],
  ])('%j', (text, words) => {
    const [first, ...more] = found(text);
    expect(more).toEqual([]);
    expect(first?.slice(0, words.length)).toBe(words);
  });

  test('all of it at once, in the order of lines, and the rest is taken', () => {
    const text = '[log]\nlevel = "loud"\n[api]\ngroop = "x"\ngroup = "y"\n[pahts]\n';
    expect(readOptions(text, {}).findings.map(({ line }) => line)).toEqual([2, 4, 6]);
    expect(said(text)).toEqual([['api.group', 'y', 'file']]);
  });

  test('lines are right behind strings and lists of many lines, in files of any line end', () => {
    const text = [
      '[api] # [log]',
      "tls-ca = '''/a",
      '[log]',
      "level = 1'''",
      'hosts = [ # "]"',
      '  "tcp://0.0.0.0:1", # ]',
      '',
      ']',
      'log = { level = "x" }',
      '[log]',
      '"level" = "loud"',
    ];
    for (const end of ['\n', '\r\n'])
      expect(found(text.join(end)).map((each) => each.replace(/: .*/s, ''))).toEqual(['2', '5', '9', '11']);
  });

  test.each([
    ['a string', '2', `tls-ca = """/a${'\n'.repeat(60_000)}"""`],
    ['a list', '2', `hosts = [${'\n"",'.repeat(15_000)}]`],
    // Its line is not worth the time.
    ['a string of what could be ends', 'undefined', `tls-ca = """/a${'\n]'.repeat(30_000)}"""`],
  ])('%s of the largest file there may be is read in a moment', (_name, line, statement) => {
    const begun = performance.now();
    expect(found(`[api]\n${statement}\n`)[0]).toMatch(new RegExp(`^${line}: skepd: `));
    // 0.1 s; a look at every line of them took minutes.
    expect(performance.now() - begun).toBeLessThan(10_000);
  });

  test('the file is judged by itself, whatever the environment puts over it', () => {
    const env = { SKEP_LOG: 'info', SKEP_HOSTS: '' };
    expect(found('[log]\nlevel = "loud"\n[api]\nhosts = ["tcp://0.0.0.0"]', env)).toHaveLength(2);
  });

  test('no error repeats what could be a key', () => {
    const pem = '-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n';
    const files = [
      `[api]\ntls-key = """${pem}"""`,
      `[api]\ntls-key = "${pem}"`,
      `[api]\ntls-key = [${JSON.stringify(pem)}]`,
      `[api]\ntls-keys = ${JSON.stringify(pem)}`,
      `tls-key = ${JSON.stringify(pem)}`,
      `${pem}`,
    ];
    for (const text of files) {
      const { findings } = readOptions(text, {});
      expect(findings.length, text).toBeGreaterThan(0);
      const words = JSON.stringify(findings) + findings.map((each) => findingText(each, 'f')).join('');
      expect(words).not.toMatch(/MIGH|BEGIN/);
    }
  });
});

describe('what is right in the file', () => {
  test.each<[string, OptionName, unknown]>([
    [
      'api = { hosts = ["tcp://[::1]:98"], tls-ca="/a", tls-cert="/b", tls-key="/c" }',
      'api.hosts',
      [{ host: '::1', port: 98 }],
    ],
    ['api.group = ""', 'api.group', ''],
    ['[api]\ngroup = "1000"', 'api.group', '1000'],
    ['[metrics]\ndataplane-address = ""', 'metrics.dataplane-address', null],
    ['[metrics]\ndataplane-address = ""\ncontrolplane-address = ""', 'metrics.controlplane-address', null],
    [
      '[metrics]\ndataplane-address = "127.0.0.1:9472"\ncontrolplane-address = "127.0.0.1:9471"',
      'metrics.dataplane-address',
      { host: '127.0.0.1', port: 9472 },
    ],
    [
      '[services]\nallow = ["devices=/dev/snd/*", "privileged"]',
      'services.allow',
      ['devices=/dev/snd/*', 'privileged'],
    ],
    ["[paths]\nrun-dir = '/run/a b'", 'paths.run-dir', '/run/a b'],
  ])('%s', (text, name, value) => {
    const { values, origins, findings } = readOptions(text, {});
    expect(findings).toEqual([]);
    expect([values[name], origins[name]]).toEqual([value, 'file']);
  });
});
