/**
 * Every session of the documentation, typed in a lab of three nodes as a reader types it, page after page in the order of reading: what
 * one page has made the next one finds. After a session that is not as its page says none of the later ones is typed.
 */
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ensureImage, importScript } from '../../src/lab/images.js';
import { tryHostCommand } from '../../src/lab/host-command.js';
import type { CommandResult } from '../../src/lab/host-command.js';
import { whoamiImage } from '../support/documentation/images.js';
import { playedPages } from '../support/documentation/order.js';
import { checkout, readPage } from '../support/documentation/page.js';
import { Typist } from '../support/documentation/runner.js';
import type { Shell } from '../support/documentation/runner.js';
import { sessionsOf } from '../support/documentation/session.js';
import { systemdScript } from '../support/documentation/systemd.js';
import type { Machine } from '../support/documentation/session.js';
import { TestLab } from '../support/lab.js';

const labName = 'test-documentation';
/** What pages call the lab of a reader, who may have one by that name. */
const readersLab = /--name demo\b/g;

// Before the lab is up: its nodes have this machine's files below their own as they are then.
beforeAll(async () => void (await ensureImage(whoamiImage)), 60_000);
const cluster = new TestLab({ name: labName, nodes: 3 });
beforeAll(async () => {
  const script = importScript([await ensureImage(whoamiImage)]);
  await Promise.all(
    cluster.lab.nodes.map(async ({ name }) => {
      await cluster.run(name, ['sh', '-c', script]);
      await cluster.run(name, ['sh', '-c', systemdScript]);
    }),
  );
}, 60_000);

const merged = ({ exitCode, stdout, stderr }: CommandResult): { exitCode: number; output: string } => ({
  exitCode,
  output: stdout + stderr,
});

function shellOf(machine: Machine): Shell {
  const { lab } = cluster;
  const { run: dir } = lab.paths;
  switch (machine) {
    case 'host':
      return {
        home: checkout,
        memory: join(dir, 'host.shell'),
        run: async (script, deadlineMs) =>
          merged(
            await tryHostCommand(['bash', '-c', script.replace(readersLab, `--name ${labName}`)], {
              deadlineMs,
            }),
          ),
      };
    case 'client':
      return {
        home: join(dir, 'client'),
        memory: join(dir, 'client.shell'),
        run: async (script, deadlineMs) => merged(await lab.client(['bash', '-c', script], { deadlineMs })),
      };
    default:
      return {
        home: '/root',
        memory: '/run/documentation.shell',
        run: async (script, deadlineMs) =>
          merged(await lab.exec(machine, ['bash', '-c', script], { deadlineMs })),
      };
  }
}

async function power(off: readonly string[]): Promise<void> {
  const status = cluster.lab.status();
  const isOff = (name: string): boolean => status.some((node) => node.name === name && node.state === 'off');
  await Promise.all(
    cluster.lab.nodes.map(async ({ name }) => {
      if (off.includes(name) && !isOff(name)) await cluster.lab.kill(name);
      if (!off.includes(name) && isOff(name)) await cluster.lab.start(name);
    }),
  );
}

const typist = new Typist({ shell: shellOf, power });
let broken: string | undefined;

describe.each(playedPages.map((path) => [path, sessionsOf(readPage(path))] as const))('%s', (_, blocks) => {
  for (const block of blocks) {
    if (block.kind === 'session' && block.runner !== 'lab') continue;
    const [first] = block.kind === 'session' ? block.steps : [];
    const what = first === undefined ? 'a file' : first.command.split('\n')[0];
    test(`${block.where}, on ${block.machine}: ${what}`, async () => {
      expect(broken, 'an earlier session was not as its page says').toBeUndefined();
      broken = block.where;
      await typist.play(block);
      broken = undefined;
    });
  }
});
