/** Daemons as processes that are told something wrong: they end at once with 1, and say why in one line. Nothing is made before that. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const checkout = resolve(import.meta.dirname, '../..');
const deadlineMs = 30_000;

test.each([
  ['skepd', '[api]\ngroop = "x"\n', {}, '2: [api] has no option \\"groop\\"'],
  ['skepd', '', { SKEP_LOG: 'loud' }, 'SKEP_LOG: \\"loud\\" is none of'],
  ['skep-dataplane', '[balancer]\nengine = "nft"\n', {}, '2: [balancer] engine: \\"nft\\" is none of'],
  ['skep-dataplane', '[log', {}, '1: column 2: '],
])('%s does not start with %j, %j', async (daemon, text, env, words) => {
  const directory = await mkdtemp(join(tmpdir(), 'skep-options-'));
  try {
    await writeFile(join(directory, 'skep.toml'), text);
    const said = {
      SKEP_CONFIG: join(directory, 'skep.toml'),
      SKEP_STATE_DIR: join(directory, 'state'),
      SKEP_RUN_DIR: join(directory, 'run'),
      SKEP_ENGINE: `unix://${join(directory, 'no-engine.sock')}`,
    };
    const options = { env: { PATH: process.env['PATH'], ...said, ...env }, timeout: deadlineMs };
    const [code, stderr] = await new Promise<[unknown, string]>((settle) => {
      execFile(join(checkout, 'bin', daemon), options, (err, _stdout, errors) => settle([err?.code, errors]));
    });
    expect(code).toBe(1);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).toContain(words);
    expect(JSON.parse(stderr)).toMatchObject({
      name: daemon,
      msg: 'cannot run',
      err: { name: 'OptionsError' },
    });
    expect(await readdir(directory)).toEqual(['skep.toml']);
  } finally {
    await rm(directory, { recursive: true });
  }
});
