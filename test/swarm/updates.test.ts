/**
 * Service updates, rollbacks, restarts, health and history: what becomes of the tasks, what the CLI says while it waits, and the words
 * in which it says why. Skep and Docker's own Swarm mode go through the same session side by side.
 */
import { expect, test } from 'vitest';
import { ManagedLab } from '../support/managed-lab.js';
import type { Said } from './session.js';
import { Session } from './session.js';

const image = 'skep/whoami:lab';
const node = 'node1';
/** Nothing is restarted while a test looks, whatever it waits for; nor does an update wait long for what may fail yet. */
const calm = ['--restart-delay', '1h', '--update-monitor', '1s', '--rollback-monitor', '1s'];
const statusOf = (service: string): readonly string[] => [
  'service',
  'inspect',
  service,
  '--format={{with .UpdateStatus}}{{.State}}: {{.Message}}{{end}}',
];
/** The task is not replaced: what it ended as. */
const gaveUp = ([first = '']: readonly string[]): boolean => first.includes(' Shutdown ');
const rowsOf = (service: string): readonly string[] => [
  ...['service', 'ps', '--no-trunc', service],
  '--format={{.Name}} {{.Image}} {{.DesiredState}} {{.CurrentState}} {{.Error}}',
];

/** One administrator's work on services of one node. */
class Updates {
  constructor(readonly over: Session) {}

  say(words: string | readonly string[]): Promise<string> {
    return this.over.docker(node, words);
  }

  create(service: string, options: readonly string[], ...args: readonly string[]): Promise<string> {
    const fixed = ['-d', '--no-resolve-image', ...calm, '--name', service];
    return this.say(['service', 'create', ...fixed, ...options, image, ...args]);
  }

  /** Changes a service and waits as the CLI does, whose last words count. */
  update(service: string, ...options: readonly string[]): Promise<string> {
    return this.say(['service', 'update', '-q', '--no-resolve-image', ...options, service]);
  }

  /** Waits for the end of the update, and looks at what it has done. */
  async ended(service: string, state: string, deadlineMs = 60_000): Promise<void> {
    await this.over.lab.until(node, statusOf(service), (output) => output.startsWith(state), deadlineMs);
    await this.say(statusOf(service));
    await this.rows(service);
  }

  /**
   * Notes the tasks once none of them is on its way any more, slot by slot: in which order an update takes them is anybody's guess
   * with Swarm.
   */
  async rows(service: string, isExpected: (rows: readonly string[]) => boolean = () => true): Promise<void> {
    const settled =
      / (Running Running|Ready (Ready|Rejected)|Shutdown (Shutdown|Failed|Rejected|Complete)|Running Pending) /;
    await this.over.lab.until(
      node,
      rowsOf(service),
      (output) => {
        const rows = output.split('\n');
        return rows.every((row) => settled.test(`${row} `)) && isExpected(rows);
      },
      60_000,
    );
    const slots = new Map<string, string[]>();
    for (const row of (await this.over.lab.must(node, rowsOf(service))).split('\n')) {
      const [name = '', ...rest] = row.trim().split(' ');
      // Made of a spec that was rolled back before the task could start: Skep keeps the record, Swarm now and then.
      if (row.includes(' nosuch:') && row.includes(' Shutdown Shutdown ')) continue;
      slots.set(name, [...(slots.get(name) ?? []), rest.join(' ')]);
    }
    this.over.note(
      `tasks of ${service} by slot`,
      [...slots.values()].map((rows) => rows.join('\n')),
    );
  }

  running(service: string, replicas: string): Promise<void> {
    const words = ['service', 'ls', '--filter', `name=${service}`, '--format={{.Replicas}}'];
    return this.over.until(node, words, (output) => output === replicas);
  }
}

async function compare(session: (updates: Updates) => Promise<void>): Promise<void> {
  await using skep = await ManagedLab.create('skep', 'test-swarm-skep', 1);
  await using swarm = await ManagedLab.create('swarm', 'test-swarm-swarm', 1);
  const sessions = [new Session(skep), new Session(swarm)] as const;
  const done = await Promise.allSettled(
    sessions.map(async (over) => {
      await over.lab.must(node, 'swarm init --advertise-addr 192.168.60.1');
      await session(new Updates(over));
    }),
  );
  const [ours, theirs] = sessions.map(({ transcript }): readonly Said[] => transcript);
  for (const each of done) if (each.status === 'rejected') throw each.reason;
  expect(theirs!.length).toBeGreaterThan(20);
  expect(ours).toEqual(theirs);
}

test('what an update changes, and what it leaves alone', async () => {
  await compare(async (web) => {
    await web.create('web', ['--replicas', '3']);
    await web.running('web', '3/3');
    await web.say('service rollback web');
    await web.update('web', '--env-add', 'A=1');
    await web.ended('web', 'completed');
    for (const options of [
      ['--label-add', 'a=b'],
      ['--update-parallelism', '2', '--update-failure-action', 'continue', '--rollback-order', 'start-first'],
      ['--constraint-add', 'node.role==manager'],
      ['--replicas', '4'],
      [],
    ]) {
      await web.update('web', ...options);
      await web.say(statusOf('web'));
      await web.rows('web');
    }
    await web.update('web', '--force', '--update-parallelism', '0', '--update-order', 'start-first');
    await web.ended('web', 'completed');
    await web.say('service rollback -q web');
    await web.ended('web', 'rollback_completed');
    await web.say('service update -q --rollback web');
    await web.ended('web', 'rollback_completed');
    await web.say('service update -q --rollback --env-add B=1 web');
    await web.update('web', '--container-label-add', 'x=y', '--replicas', '2', '--update-delay', '1s');
    await web.ended('web', 'completed');
    await web.say('service scale -d web=0');
    await web.running('web', '0/0');
    await web.say('service ls --format {{.Name}}={{.Replicas}}');
  });
});

test('updates that fail', async () => {
  await compare(async (web) => {
    await web.say('swarm update --task-history-limit 50');
    // With a delay Swarm, too, has seen one slot fail before it takes the next.
    const watched = ['--update-monitor', '3s', '--rollback-monitor', '3s'];
    const slowly = ['--replicas', '3', '--update-delay', '1s', '--rollback-delay', '1s', ...watched];
    await web.create('web', slowly);
    await web.running('web', '3/3');
    await web.update('web', '--args', 'false');
    await web.ended('web', 'paused');
    await web.update('web', '--args', 'nginx');
    await web.ended('web', 'completed');

    await web.create('back', slowly);
    await web.running('back', '3/3');
    await web.update('back', '--update-failure-action', 'rollback', '--image', 'nosuch:1');
    await web.ended('back', 'rollback_completed');

    await web.create('on', slowly);
    await web.running('on', '3/3');
    await web.update('on', '--update-failure-action', 'continue', '--image', 'nosuch:2');
    await web.ended('on', 'completed');
    await web.say('service rollback -q on');
    await web.ended('on', 'rollback_completed');

    const slot = (bad: number): string => `sh -c 'test $SLOT != ${bad} && exec nginx'`;
    await web.create('some', [...watched, '--replicas', '4', '--env', 'SLOT={{.Task.Slot}}']);
    await web.running('some', '4/4');
    const all = ['--update-parallelism', '0', '--update-max-failure-ratio'];
    await web.update('some', ...all, '0.25', '--args', slot(2));
    await web.ended('some', 'completed');
    await web.update('some', ...all, '0.2', '--args', slot(3));
    await web.ended('some', 'paused');

    // Runs once with each generation: a rollback fails.
    const once = ['sh', '-c', 'mkdir /volume/$GENERATION && exec nginx'];
    const mount = 'type=volume,source=generations,target=/volume';
    await web.create('worse', [...watched, '--mount', mount, '--env', 'GENERATION=1'], ...once);
    await web.running('worse', '1/1');
    await web.update('worse', '-d', '--update-failure-action', 'rollback', '--image', 'nosuch:3');
    // Swarm waits for a minute for a task that was never started to stop.
    await web.ended('worse', 'rollback_paused', 150_000);

    const global = ['--mode=global', '--update-failure-action=rollback', '--update-delay=1s'];
    await web.create('all', [...watched, ...global]);
    await web.running('all', '1/1');
    await web.update('all', '-d', '--args', 'false');
    await web.ended('all', 'rollback_completed', 150_000);
  });
});

test('updates that come in the way of each other', async () => {
  await compare(async (web) => {
    await web.create('web', ['--replicas', '2']);
    await web.running('web', '2/2');
    // Nobody can ever run it: the update waits at its first slot.
    await web.update('web', '-d', '--constraint-add', 'node.labels.x==1');
    await web.rows('web', (rows) => rows.length === 3);
    await web.say(statusOf('web'));
    await web.update('web', '-d', '--constraint-rm', 'node.labels.x==1', '--env-add', 'A=1');
    await web.ended('web', 'completed');
    await web.create('first', ['--update-order', 'start-first', '--rollback-order', 'start-first']);
    await web.running('first', '1/1');
    await web.update('first', '-d', '--constraint-add', 'node.labels.x==1');
    await web.rows('first', (rows) => rows.length === 2);
    await web.say('service rollback -q first');
    await web.over.until(node, statusOf('first'), (output) => output.startsWith('rollback_completed'));
    await web.running('first', '1/1');
    for (const wrong of [
      ['--update-max-failure-ratio', '2'],
      ['--update-failure-action', 'bogus'],
      ['--rollback-failure-action', 'rollback'],
      ['--update-order', 'bogus'],
      ['--restart-condition', 'bogus'],
      ['--update-monitor', '-1s'],
      ['--restart-delay', '-1s'],
      ['--restart-window', '-1s'],
      ['--update-delay', '-1s'],
      ['--health-interval', '1us'],
      ['--health-retries', '-1'],
      ['--health-cmd', 'true', '--no-healthcheck'],
      ['--replicas', '-1'],
    ])
      await web.update('web', '-d', ...wrong);
  });
});

test('tasks that fail, and what is kept of them', async () => {
  await compare(async (web) => {
    const once = ['--restart-condition', 'none'];
    await web.create('rejected', [...once, '--label', 'a=b']);
    await web.running('rejected', '1/1');
    await web.update('rejected', '-d', '--image', 'nosuch:1');
    await web.rows('rejected', (rows) => rows.length === 2);
    await web.create('unstarted', once, 'nosuchcommand');
    await web.rows('unstarted', gaveUp);
    await web.create('unbound', [...once, '--mount', 'type=bind,source=/nosuch,target=/x']);
    await web.rows('unbound', gaveUp);
    await web.create('exits', once, 'sh', '-c', 'exit 7');
    await web.rows('exits', gaveUp);
    await web.create('done', ['--restart-condition', 'on-failure'], 'true');
    await web.rows('done', gaveUp);
    await web.create('tried', ['--restart-max-attempts', '2']);
    await web.running('tried', '1/1');
    await web.update('tried', '-d', '--restart-delay', '0s', '--args', 'false');
    await web.rows('tried', (rows) => rows.length === 3 && gaveUp(rows));
    const sick = [...once, '--health-interval=1s', '--health-retries=1'];
    // With 0 Swarm calls one that never became healthy complete.
    const trapped = (work: string): string[] => ['sh', '-c', `trap "exit 3" TERM; ${work}`];
    await web.create('ill', [...sick, '--health-cmd=false'], ...trapped('while sleep 1; do :; done'));
    await web.rows('ill', gaveUp);
    await web.update('ill', '--no-healthcheck');
    await web.ended('ill', 'completed');
    const healthCmd = '--health-cmd=test ! -e /run/ill';
    await web.create('sick', [...sick, healthCmd], ...trapped('while sleep 1; do touch /run/ill; done'));
    await web.rows('sick', gaveUp);
    await web.say('service ls --format {{.Name}}={{.Replicas}}');

    await web.create('kept', ['--update-parallelism', '0']);
    await web.running('kept', '1/1');
    for (const limit of ['2', '0', '3']) {
      await web.say(`swarm update --task-history-limit ${limit}`);
      for (let i = 0; i < 3; i++) await web.update('kept', '--force');
      await web.rows('kept', (rows) => rows.length === Math.max(1, Number(limit)));
    }
  });
});
