/** What this node has sent ESP with, over restarts, boots and lost files: an epoch never comes twice. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ip } from '../../../../src/model/addresses.js';
import { EspSenderStore } from '../../../../src/dataplane/esp-sender.js';
import { openEspSenderFile } from '../../../../src/dataplane/state-file.js';

let directory: string;
let nowMs = 1_700_000_000_000;
const damaged: unknown[] = [];
const path = (): string => join(directory, 'esp.json');
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-esp-'));
  damaged.length = 0;
});
afterEach(() => rm(directory, { recursive: true }));

const load = (bootId: string): Promise<EspSenderStore> =>
  EspSenderStore.load(openEspSenderFile(path()), bootId, { nowMs: () => nowMs }, (err) => damaged.push(err));
const made = [{ sequence: 3, destination: '192.0.2.2' as Ip }];

test('a restart keeps it, a boot begins the next epoch', async () => {
  const first = await load('boot1');
  expect(first.current).toMatchObject({ epoch: 1_700_000_000, made: [] });
  await first.save({ epoch: 1_700_000_000, made });
  expect((await stat(path())).mode & 0o777).toBe(0o600);
  expect((await load('boot1')).current).toMatchObject({ epoch: 1_700_000_000, made });
  expect((await load('boot2')).current).toMatchObject({ epoch: 1_700_000_001, made: [] });
  // Written down at once: a second boot must not count from the same number.
  expect((await load('boot3')).current).toMatchObject({ epoch: 1_700_000_002, made: [] });
});

test('what is lost or damaged begins later than any before it', async () => {
  const { current } = await load('boot1');
  for (const lose of [() => rm(path()), () => writeFile(path(), '{')]) {
    nowMs += 60_000;
    await lose();
    expect((await load('boot1')).current.epoch).toBeGreaterThan(current.epoch + 1);
  }
  expect(damaged).toHaveLength(1);
});
