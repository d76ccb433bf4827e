/** The Vagrantfile as Vagrant reads it; no machine is made, and no provider need be there. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tryHostCommand } from '../../../src/lab/host-command.js';
import type { CommandResult } from '../../../src/lab/host-command.js';

const directory = resolve(import.meta.dirname, '../../../vagrant');
/** Vagrant is a large program, that starts in two seconds where nobody else wants the processor. */
const deadlineMs = 120_000;

let home = '';
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'skep-vagrant-'));
  await writeFile(join(home, 'skep_0.0.0_amd64.deb'), '');
});
afterAll(() => rm(home, { recursive: true }));

/** Runs Vagrant with a home of its own, so that it leaves nothing in anybody's, nor beside the Vagrantfile. */
const vagrant = (file: string, ...args: string[]): Promise<CommandResult> =>
  tryHostCommand(
    [
      'env',
      '-C',
      directory,
      `VAGRANT_HOME=${home}/home`,
      `VAGRANT_DOTFILE_PATH=${home}/dotfiles`,
      'VAGRANT_CHECKPOINT_DISABLE=1',
      `SKEP_PACKAGE=${file}`,
      'vagrant',
      ...args,
    ],
    { deadlineMs },
  );

test.each([
  ['with a package to install', 'skep_0.0.0_amd64.deb'],
  ['before the package is built', 'no-such.deb'],
])(
  'it is valid %s',
  async (_, file) => {
    const { exitCode, stdout, stderr } = await vagrant(join(home, file), 'validate', '--ignore-provider');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain('Vagrantfile validated successfully.');
    const machines = [...stdout.matchAll(/^==> (\w+): /gm)].map(([, machine = '']) => machine);
    expect(machines).toEqual(['m1', 'm2', 'm3', 'w1', 'w2', 'client']);
  },
  deadlineMs,
);

test(
  'up without a package says what is missing and how to have it, before anything is made',
  async () => {
    const { exitCode, stderr } = await vagrant(join(home, 'no-such.deb'), 'up');
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`There is no package at ${join(home, 'no-such.deb')}`);
    expect(stderr).toContain('"npm run package"');
  },
  deadlineMs,
);
