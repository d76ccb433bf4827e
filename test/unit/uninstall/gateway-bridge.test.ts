/** The engine's bridge for overlays goes with Skep where it came with Skep. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rememberGatewayBridge, removeGatewayBridge } from '../../../src/uninstall/gateway-bridge.js';

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-bridge-'));
  file = join(directory, 'no-gateway-bridge');
});
afterEach(() => rm(directory, { recursive: true }));

test.each([
  ['was not there: it goes', { remembered: false, wasThere: false }, ['docker_gwbridge']],
  ['was there: it stays', { remembered: false, wasThere: true }, []],
  ['was not looked for when it was not there yet: it stays', { remembered: true, wasThere: false }, []],
] as const)('a bridge that %s', async (_, { remembered, wasThere }, gone) => {
  const removed: string[] = [];
  await rememberGatewayBridge(file, remembered, { hasNetwork: async () => wasThere });
  // An upgrade: it is there now, and by our own doing.
  await rememberGatewayBridge(file, true, { hasNetwork: async () => true });
  const removeNetwork = async (id: string): Promise<boolean> => removed.push(id) > 0;
  await removeGatewayBridge(file, { removeNetwork });
  await removeGatewayBridge(file, { removeNetwork });
  expect(removed).toEqual(gone);
});
