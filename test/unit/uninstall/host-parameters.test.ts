/** What Skep changes for the whole host is known before, and put back. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ebpfPlan } from '../../../src/dataplane/plan/ebpf.js';
import { ipvsPlan } from '../../../src/dataplane/plan/ipvs.js';
import { planHostScope } from '../../../src/dataplane/plan/node.js';
import {
  hostParameters,
  rememberParameters,
  restoreParameters,
} from '../../../src/uninstall/host-parameters.js';
import type { Parameters } from '../../../src/uninstall/host-parameters.js';
import { programTags, stateOf } from '../dataplane/plan/network-state.js';

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-host-'));
  file = join(directory, 'host.json');
});
afterEach(() => rm(directory, { recursive: true }));

/** A host's parameters; what is not named is not there. */
function host(values: Record<string, string>): Parameters & { readonly values: Record<string, string> } {
  return {
    values,
    read: (path) => values[path] ?? null,
    write: (path, value) => void (values[path] = value),
  };
}

test('what is planned for the whole host is what is remembered, but for forwarding', () => {
  const state = stateOf(1, {
    ingress: true,
    tasks: [{ part: 5, node: 1 }],
    ports: { 8080: 80 },
    vips: { web: 2 },
  });
  const planned = [ipvsPlan, ebpfPlan(programTags)]
    .flatMap((engine) => planHostScope(state, 1450, engine, []).objects)
    .flatMap((object) => (object.kind === 'sysctl' ? [object.path] : []))
    .filter((path) => !path.includes('/sk-'));
  expect([...new Set(planned)].sort()).toEqual([...hostParameters, 'net/ipv4/ip_forward'].sort());
});

test('what was kept first is put back, where it differs and is there still', async () => {
  const before = { 'net/ipv4/conf/lo/rp_filter': '2', 'net/ipv4/conf/lo/accept_local': '0' };
  await rememberParameters(
    file,
    host({ ...before, 'net/ipv4/vs/conntrack': '0', 'net/ipv4/ip_forward': '0' }),
  );
  const now = host({
    'net/ipv4/conf/lo/rp_filter': '0',
    'net/ipv4/conf/lo/accept_local': '1',
    'net/ipv4/ip_forward': '1',
  });
  // An upgrade asks again.
  await rememberParameters(file, now);
  await restoreParameters(file, now);
  expect(now.values).toEqual({ ...before, 'net/ipv4/ip_forward': '1' });
  // Once.
  now.write('net/ipv4/conf/lo/rp_filter', '1');
  await restoreParameters(file, now);
  expect(now.values['net/ipv4/conf/lo/rp_filter']).toBe('1');
});

test.each([
  ['no JSON', '{'],
  ['another format', '{"formatVersion": 2, "parameters": {}}'],
  ['a parameter that is none of ours', '{"formatVersion": 1, "parameters": {"kernel/core_pattern": "1"}}'],
  ['a value that is no number', '{"formatVersion": 1, "parameters": {"net/ipv4/conf/lo/rp_filter": "|sh"}}'],
])('a damaged file changes nothing: %s', async (_, text) => {
  await writeFile(file, text);
  const now = host({ 'net/ipv4/conf/lo/rp_filter': '0' });
  await expect(restoreParameters(file, now)).rejects.toThrow('is damaged');
  expect(now.values).toEqual({ 'net/ipv4/conf/lo/rp_filter': '0' });
  expect(await readFile(file, 'utf8')).toBe(text);
});
