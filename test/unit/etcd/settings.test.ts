import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  etcdSettings,
  etcdSettingsDefaults,
  readEtcdSettings,
  writeEtcdSettings,
} from '../../../src/controlplane/etcd/settings.js';

test.each([
  [
    { snapshotInterval: 10_000, keepOldSnapshots: 0 },
    { snapshotCount: 10_000, snapshotsMax: 1 },
  ],
  [
    { snapshotInterval: 0, keepOldSnapshots: 3 },
    { snapshotCount: 10_000, snapshotsMax: 4 },
  ],
  [
    { snapshotInterval: 1, keepOldSnapshots: 2 ** 40 },
    { snapshotCount: 100, snapshotsMax: 1_000 },
  ],
])('%o', (raft, settings) => {
  expect(etcdSettings(raft)).toEqual(settings);
});

test('are remembered, and a file that makes no sense is as none', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skep-settings-'));
  try {
    expect(await readEtcdSettings(dir)).toEqual(etcdSettingsDefaults);
    await writeEtcdSettings(dir, { snapshotCount: 500, snapshotsMax: 3 });
    expect(await readEtcdSettings(dir)).toEqual({ snapshotCount: 500, snapshotsMax: 3 });
    for (const text of ['', '{', '{}', '{"snapshotCount":-1,"snapshotsMax":1}', '"x"', 'null']) {
      await writeFile(join(dir, 'etcd-settings.json'), text);
      expect(await readEtcdSettings(dir), text).toEqual(etcdSettingsDefaults);
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});
