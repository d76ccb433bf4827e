/** What the stock CLI makes of the same files of stacks is accepted, kept and shown alike by Skep and by Docker's own Swarm mode. */
import { expect, test } from 'vitest';
import { deployable, hasNewestCli, newestCli } from '../stacks/stacks.js';
import type { Stack } from '../stacks/stacks.js';
import { ManagedLab } from '../support/managed-lab.js';

/** Every node of a lab sees the checkout. */
const directory = '/run/lab/checkout/test/stacks';

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Without what differs from one cluster to the next: identifiers, and what is allocated, since the CLI creates in no order. */
const comparable = (text: string): Json =>
  JSON.parse(
    text
      .replace(/\b[0-9a-z]{25}\b/g, 'ID')
      .replace(/\b10\.0\.\d+\./g, '10.0.N.')
      .replace(/(vxlanid_list":")\d+/, '$1VNI'),
  ) as Json;

/** What is deployed of a stack: the site's own images are nowhere here, but what the CLI makes of its file is. */
const files: readonly Pick<Stack, 'name' | 'files'>[] = [
  ...deployable,
  { name: 'blog', files: ['blog.yml'] },
];
const cli = hasNewestCli ? newestCli : 'docker';

/** Specs of services, networks, configs and secrets as the files make them; and again after a second deploy. */
async function made(lab: ManagedLab): Promise<Json> {
  await lab.must('node1', 'swarm init --advertise-addr 192.168.60.1');
  await lab.must('node1', 'network create -d overlay public');
  // Of the site: one that its file takes for given.
  await lab.sh('node1', 'printf known | docker secret create mysql_password -');
  const seen: Record<string, Json> = {};
  for (const time of ['first', 'second'])
    for (const stack of files) {
      const { name } = stack;
      const chosen = stack.files.map((file) => `-c ${directory}/${file}`);
      await lab.sh('node1', `${cli} stack deploy ${chosen.join(' ')} ${name}`);
      for (const kind of ['service', 'network', 'config', 'secret']) {
        const filter = `label=com.docker.stack.namespace=${name}`;
        const names = await lab.must('node1', `${kind} ls --filter ${filter} --format {{.Name}}`);
        for (const one of names === '' ? [] : names.split('\n').sort()) {
          const shown = kind === 'network' ? '{{json .}}' : '{{json .Spec}}';
          const text = await lab.must('node1', [kind, 'inspect', '--format', shown, one]);
          const {
            Created: _,
            Peers: _peers,
            Containers: _containers,
            ...rest
          } = comparable(text) as Record<string, Json>;
          seen[`${time} ${kind} ${one}`] = rest;
        }
      }
    }
  return seen;
}

test('stacks of many shapes', async () => {
  await using skep = await ManagedLab.create('skep', 'test-stacks-skep', 1);
  await using swarm = await ManagedLab.create('swarm', 'test-stacks-swarm', 1);
  const [ours, theirs] = await Promise.all([made(skep), made(swarm)]);
  expect(Object.keys(theirs as object).length).toBeGreaterThan(60);
  expect(ours).toEqual(theirs);
});
