/** Which of the host's reserved ports are ours: known over restarts, not over boots; what is not known is others'. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ReservationsStore } from '../../../../src/dataplane/reserved-ports.js';
import { openReservationsFile } from '../../../../src/dataplane/state-file.js';

let directory: string;
const damaged: unknown[] = [];
const path = (): string => join(directory, 'reserved-ports.json');
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-ports-'));
  damaged.length = 0;
});
afterEach(() => rm(directory, { recursive: true }));

const load = (bootId: string): Promise<ReservationsStore> =>
  ReservationsStore.load(openReservationsFile(path()), bootId, (err) => damaged.push(err));
const none = { wanted: [], added: [] };

test('a restart keeps it, a boot forgets it', async () => {
  const first = await load('boot1');
  expect(first.current).toEqual(none);
  const reservations = { wanted: ['tcp/8080', 'udp/53'], added: [8080] };
  await first.save(reservations);
  expect(first.current).toEqual(reservations);
  expect((await stat(path())).mode & 0o777).toBe(0o600);
  expect((await load('boot1')).current).toMatchObject(reservations);
  expect((await load('boot2')).current).toEqual(none);
});

test.each(['{', '{"version":1,"bootId":"boot1","wanted":[],"added":[0]}'])(
  'a damaged file (%s) is told of, and all is others’',
  async (text) => {
    await writeFile(path(), text);
    expect((await load('boot1')).current).toEqual(none);
    expect(damaged).toHaveLength(1);
  },
);
