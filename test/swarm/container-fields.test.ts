/**
 * The container of a task that asks for nearly everything is the same whether Skep or Docker's own Swarm mode has made it: field by
 * field. Both run here, side by side.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';

const image = 'skep/whoami:lab';
const startDeadlineMs = 60_000;

/** `docker service create` with all that a container may be told, words without blanks. */
const asked = [
  'service create -d --name rich --no-resolve-image --restart-condition none --label of=service',
  '--container-label of=container --env WHERE={{.Node.Hostname}} --env EMPTY= --env SLOT={{.Task.Slot}}',
  '--hostname {{.Service.Name}}-{{.Task.Slot}} --workdir /etc --user 1000:1001 --group 2000 --group 2001',
  '--tty --read-only --init --stop-signal SIGUSR1 --stop-grace-period 3s',
  '--mount type=bind,source=/etc,target=/bound,readonly,bind-propagation=rprivate',
  '--mount type=volume,source=data-{{.Task.Slot}},target=/data,volume-nocopy,volume-label=l={{.Service.Name}},volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m',
  '--mount type=volume,source=labelled,target=/labelled,volume-label=a=b',
  '--mount type=volume,source=plain,target=/plain --mount type=volume,target=/anonymous',
  '--mount type=tmpfs,target=/scratch,tmpfs-size=1048576,tmpfs-mode=700',
  '--health-cmd /bin/true --health-interval 1h --health-timeout 2s --health-start-period 3s --health-retries 4',
  '--host one:10.1.2.3 --host two:10.1.2.4 --dns 10.9.8.7 --dns-search example.org --dns-option ndots:3',
  '--sysctl kernel.shm_rmid_forced=1 --cap-add NET_ADMIN --cap-drop CHOWN --ulimit nofile=512:1024',
  '--limit-cpu 0.5 --limit-memory 32M --limit-pids 50 --reserve-cpu 0.1 --reserve-memory 16M',
  '--log-driver json-file --log-opt max-size=1m --log-opt max-file=2',
  `${image} first second`,
].join(' ');
/** And one that is told nothing. */
const plain = `service create -d --name plain --no-resolve-image ${image}`;

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Without what differs from one container to the next, and without what says nothing: the engine takes none for empty. */
function comparable(value: Json): Json {
  if (typeof value === 'string')
    return value.replace(/\b[0-9a-f]{64}\b/g, 'HASH').replace(/\b[0-9a-z]{25}\b/g, 'ID');
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value as { readonly [key: string]: Json })
    .map(([key, member]): [string, Json] => [comparable(key) as string, comparable(member)])
    .filter(([, member]) => !isBlank(member));
  return Object.fromEntries(kept);
}

const isBlank = (value: Json): boolean =>
  value === null ||
  value === '' ||
  value === false ||
  value === 0 ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** The containers of both services, and the volumes with names. */
async function made(lab: ManagedLab): Promise<Json> {
  await lab.must('node1', 'swarm init --advertise-addr 192.168.60.1');
  await lab.must('node1', asked);
  await lab.must('node1', plain);
  const containers: Record<string, Json> = {};
  for (const name of ['rich', 'plain']) {
    const listed = `ps -aq --no-trunc --filter name=${name}.1.`;
    await lab.until('node1', listed, (output) => /^[0-9a-f]{64}$/.test(output), startDeadlineMs);
    const [container] = JSON.parse(await lab.must('node1', `inspect ${await lab.must('node1', listed)}`)) as [
      Record<string, Json>,
    ];
    const { Config, HostConfig, Mounts, Path, Args, AppArmorProfile } = container;
    const { Hostname, ...rest } = Config as Record<string, Json>;
    // Without one of the user's it is the beginning of the container's id.
    const hostname = name === 'rich' ? { Hostname } : {};
    const byTarget = (Mounts as { Destination: string }[]).map((mount): [string, Json] => [
      mount.Destination,
      mount,
    ]);
    containers[name] = comparable({
      ...{ Path, Args, AppArmorProfile, HostConfig },
      Config: { ...rest, ...hostname },
      Mounts: Object.fromEntries(byTarget),
    } as Json);
  }
  const volumes = JSON.parse(await lab.must('node1', 'volume inspect data-1 labelled plain')) as Record<
    string,
    Json
  >[];
  return { containers, volumes: volumes.map(({ CreatedAt: _, ...volume }) => comparable(volume)) };
}

test('the containers of a service with nearly all fields, and of one with none', async () => {
  await using skep = await ManagedLab.create('skep', 'test-fields-skep', 1);
  await using swarm = await ManagedLab.create('swarm', 'test-fields-swarm', 1);
  const [ours, theirs] = await Promise.all([made(skep), made(swarm)]);
  expect(Object.keys(theirs as object)).toEqual(['containers', 'volumes']);
  expect(ours).toEqual(theirs);
});
