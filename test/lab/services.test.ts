/**
 * Services as a new user tries them, with the stock docker CLIs, word for word: each command is checked for what it did, in the
 * nodes' engines and on the wire, not only for what it said. The stories have services of their own and are told side by side,
 * since most of their time is the CLI's own five seconds of watching whether tasks are stable.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { joinCommand } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-services', nodes: 3 });
const manager = 'node1';
const nodes = ['node1', 'node2', 'node3'];
const image = 'skep/whoami:lab';
const nextImage = 'skep/whoami:2';
const soonMs = 60_000;
/** The CLI waits until all has converged, and five seconds more. */
const convergeDeadlineMs = 90_000;

/** Runs a command line on the manager as a user types it; `docker` is the older of the stock CLIs, in `newest` the newer one. */
const old = (line: string): Promise<string> => cluster.run(manager, ['sh', '-c', line], convergeDeadlineMs);
const newest = (line: string): Promise<string> => old(`PATH=/usr/local/bin:$PATH; ${line}`);

/** A command line that must fail. @returns what it said on standard error */
async function refused(line: string): Promise<string> {
  const { exitCode, stderr } = await cluster.lab.exec(manager, ['sh', '-c', line]);
  expect({ line, failed: exitCode !== 0 }).toEqual({ line, failed: true });
  return stderr.trim();
}

/** What a command that waits for ever says meanwhile: its first line with these words. It is ended then. */
const awaited = (line: string, words: string): Promise<string> =>
  newest(`timeout ${soonMs / 1000} ${line} | grep -m 1 '${words}'`);

/** The running containers of a service, asked of the nodes' own engines: `NODE IMAGE`, or any other word of the container. */
async function containers(service: string, word = '{{.Image}}'): Promise<string[]> {
  const lists = await Promise.all(
    nodes.map(async (node) => {
      const filter = `label=com.docker.swarm.service.name=${service}`;
      const argv = `docker -H unix:///run/docker.sock ps --no-trunc --filter ${filter} --format ${word}`;
      const output = await cluster.run(node, argv.split(' '));
      return output.split('\n').flatMap((line) => (line === '' ? [] : [`${node} ${line}`]));
    }),
  );
  return lists.flat().sort();
}

/** Containers of services without networks stop a moment after the CLI has said that all converged. */
const expectContainers = (service: string, count: number, ofImage = image): Promise<string[]> =>
  eventually(`${count} containers of ${service}`, soonMs, () => containers(service), (found) =>
    expect(found.map((line) => line.split(' ')[1])).toEqual(Array.from({ length: count }, () => ofImage)),
  ); // prettier-ignore

const expectOn = (service: string, where: readonly string[]): Promise<string[]> =>
  eventually(`${service} on ${where.join(' ')}`, soonMs, () => containers(service), (found) =>
    expect(found.map((line) => line.split(' ')[0])).toEqual(where),
  ); // prettier-ignore

/** What `docker service ls` tells of how far the service is. */
const listed = (service: string): Promise<string> =>
  old(`docker service ls --filter name=${service} --format '{{.Mode}} {{.Replicas}}'`);

/** What `docker service ps` tells of tasks but their identifiers and ages, the latest of each slot first. */
const history = async (service: string, options = ''): Promise<string[]> => {
  const format = '{{.Name}}|{{.Image}}|{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}';
  const output = await old(`docker service ps ${service} ${options} --format '${format}'`);
  return output
    .split('\n')
    .map((row) => row.replace(/(\|[A-Z][a-z]+) [^|]* ago/, '$1').replace(/\|"(.*)"$/, '|$1'));
};

const expectHistory = (service: string, rows: readonly unknown[]): Promise<string[]> =>
  eventually(`tasks of ${service}`, soonMs, () => history(service, '--no-trunc'), (found) =>
    expect(found.slice(0, rows.length)).toEqual(rows),
  ); // prettier-ignore

const like = (pattern: RegExp): unknown => expect.stringMatching(pattern);

/** A request from outside to the published port of a node. @returns the host name of who answered */
async function call(node: string, port: number): Promise<string> {
  const url = `http://192.168.60.${node.slice('node'.length)}:${port}/`;
  const { exitCode, stdout, stderr } = await cluster.lab.client(['curl', '-sS', '-m', '5', url]);
  expect({ url, exitCode, stderr }).toEqual({ url, exitCode: 0, stderr: '' });
  return stdout.split(' ')[0] ?? '';
}

/** Each of the nodes answers with a container that is one of those that run. */
const expectServed = (service: string, port: number, through: readonly string[]): Promise<unknown> =>
  eventually(
    `${service} answers`,
    soonMs,
    async () => ({
      answers: await Promise.all(through.map((node) => call(node, port))),
      running: await containers(service, '{{.ID}}'),
    }),
    ({ answers, running }) => {
      for (const answer of answers)
        expect(running.map((line) => line.split(' ')[1]?.slice(0, 12))).toContain(answer);
    },
  );

beforeAll(async () => {
  const tag = `docker -H unix:///run/docker.sock tag ${image} ${nextImage}`;
  await Promise.all(nodes.map((node) => cluster.run(node, tag.split(' '))));
  await old('docker swarm init --advertise-addr 192.168.60.1');
  await cluster.run('node2', await joinCommand(cluster.lab, manager, 'worker'));
}, soonMs);

/** A CA, a server's certificate and clients' with the roles of operator, read-only and none. */
const certificates = `set -e
mkdir -p /run/tls; cd /run/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=docker-ca -keyout ca-key.pem -out ca.pem
issue() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout $1-key.pem -out $1.csr
  openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 90 -extfile <(echo "$3") -out $1.pem
}
issue server /CN=node1 subjectAltName=IP:192.168.60.1
issue alice /OU=skep-operator/CN=alice extendedKeyUsage=clientAuth
issue bob /OU=skep-read-only/CN=bob extendedKeyUsage=clientAuth
issue carol /CN=carol extendedKeyUsage=clientAuth`;

describe.concurrent('a new user', () => {
  test('creates a service, scales it, updates it, looks at it, takes the update back and removes it', async () => {
    const created = await newest(`docker service create --replicas 2 --name nginx ${image}`);
    expect(created).toMatch(/^[0-9a-z]{25}\n[^]*\nverify: Service [0-9a-z]{25} converged$/);
    await expectContainers('nginx', 2);
    expect(await newest('docker service scale nginx=0')).toContain('nginx scaled to 0\n');
    await expectContainers('nginx', 0);
    expect(await newest('docker service scale nginx=5')).toMatch(/^nginx scaled to 5\n[^]*5 out of 5 tasks/);
    await expectContainers('nginx', 5);
    expect(await newest('docker service update nginx --replicas 3')).toMatch(/^nginx\n[^]*3 out of 3 tasks/);
    const before = await expectContainers('nginx', 3);

    await newest(`docker service update --image ${nextImage} nginx`);
    await expectContainers('nginx', 3, nextImage);
    const [header, ...rows] = (await newest('docker service ps nginx')).split('\n');
    expect(header).toMatch(/^ID +NAME +IMAGE +NODE +DESIRED STATE +CURRENT STATE +ERROR +PORTS$/);
    expect(rows).toHaveLength(2 * before.length);
    for (const [at, row] of rows.entries())
      expect(row).toMatch(
        at % 2 === 0
          ? /^[0-9a-z]{12} +nginx\.\d +skep\/whoami:2 +node\d +Running +Running .* ago *$/
          : /^[0-9a-z]{12} +\\_ nginx\.\d +skep\/whoami:lab +node\d +Shutdown +Shutdown .* ago *$/,
      );
    const pretty = await newest('docker service inspect --pretty nginx');
    for (const words of [
      /^Name:\t\tnginx$/m,
      /^Service Mode:\tReplicated\n Replicas:\t3$/m,
      /^UpdateStatus:\n State:\t\tcompleted\n[^]* Message:\tupdate completed$/m,
      /^ Image:\t\tskep\/whoami:2$/m,
    ])
      expect(pretty).toMatch(words);

    const undone = await newest('docker service update --rollback nginx');
    expect(undone).toMatch(
      /^nginx\nrollback: manually requested rollback\n[^]*rolling back update: 3 out of 3 tasks\n/,
    );
    const status =
      "docker service inspect nginx --format '{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}'";
    await eventually('the rollback is over', soonMs, () => newest(status), (said) =>
      expect(said).toBe('rollback_completed: rollback completed'),
    ); // prettier-ignore
    await expectContainers('nginx', 3);
    expect(await newest('docker service rm nginx')).toBe('nginx');
    expect(await refused('docker service ps nginx')).toBe('no such service: nginx');
    await expectContainers('nginx', 0);
  });

  test('finds by one id what a request has led to, from the manager that was asked to the kernel of the node that runs the task', async () => {
    const trace = randomBytes(16).toString('hex');
    const parent = randomBytes(8).toString('hex');
    const spec = {
      Name: 'traced',
      Mode: { Replicated: { Replicas: 1 } },
      TaskTemplate: {
        ContainerSpec: { Image: image, Env: ['PASSWORD=not-for-the-log'] },
        Placement: { Constraints: ['node.hostname==node2'] },
      },
      EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8099 }] },
    };
    const asked = [
      ...[
        'curl',
        '-sS',
        '-i',
        '--unix-socket',
        '/run/skep/docker.sock',
        '-H',
        'Content-Type: application/json',
      ],
      ...['-H', `traceparent: 00-${trace}-${parent}-01`, '-d', JSON.stringify(spec)],
      'http://docker/v1.41/services/create',
    ];
    const answer = await cluster.run(manager, asked);
    expect(answer).toMatch(/^HTTP\/1\.1 201 /);
    expect(answer).toMatch(new RegExp(`^traceresponse: 00-${trace}-[0-9a-f]{16}-01\r$`, 'im'));
    await expectServed('traced', 8099, nodes.slice(0, 2));

    /** The events of a node's daemon that are about the request. */
    const linesOf = async (node: string, daemon: string): Promise<Record<string, unknown>[]> => {
      const files = await cluster.lab.logFiles(node);
      const file = files.find((path) => path.endsWith(`/${daemon}.log`));
      const text = file === undefined ? '' : await readFile(file, 'utf8');
      expect(text).not.toContain('not-for-the-log');
      const lines = text.split('\n').filter((line) => line.includes(trace));
      return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    };
    const expectEvents = (node: string, daemon: string, events: readonly object[]): Promise<unknown> =>
      eventually(`what ${daemon} of ${node} says of the request`, soonMs, () => linesOf(node, daemon), (found) => {
        for (const event of events) expect(found).toContainEqual(expect.objectContaining(event));
      }); // prettier-ignore
    const about = { trace_id: trace };
    await expectEvents(manager, 'skepd', [
      { event: 'request.answered', route: '/services/create', status: 201, parent_id: parent, ...about },
      { event: 'loop.committed', loop: 'orchestrator' },
      { event: 'task.scheduled', service: 'traced', slot: 1, ...about },
    ]);
    const states = ['preparing', 'starting', 'running'];
    await expectEvents('node2', 'skepd', states.map((state) => ({ event: 'task.step', service: 'traced', state, ...about }))); // prettier-ignore
    // Both nodes balance to the task: the kernels of both were programmed for it.
    for (const node of ['node1', 'node2'])
      await expectEvents(node, 'skep-dataplane', [{ event: 'kernel.programmed' }]);
    await old('docker service rm traced');
  });

  test('scales two at once, and has one task on every node, also on one that joins later', async () => {
    for (const name of ['a', 'b']) await old(`docker service create --detach --name ${name} ${image}`);
    const scaled = await old('docker service scale a=2 b=3');
    expect(scaled).toMatch(/^a scaled to 2\nb scaled to 3\n/);
    await Promise.all([expectContainers('a', 2), expectContainers('b', 3)]);

    const mount = 'type=bind,source=/etc/hostname,destination=/host/hostname';
    await old(`docker service create --mode global --name logspout --mount ${mount} ${image}`);
    await old(`docker service create --mode global --network host --name exporter ${image}`);
    await expectOn('logspout', ['node1', 'node2']);
    await cluster.run('node3', await joinCommand(cluster.lab, manager, 'worker'));
    await expectOn('logspout', nodes);
    await expectOn('exporter', nodes);
    // A container on a node's own network has the node's addresses, and its name.
    expect(await Promise.all(nodes.map((node) => call(node, 80)))).toEqual(nodes);
    expect(await newest('docker service inspect --pretty exporter')).toMatch(/^Networks: host *$/m);
    await old('docker service scale --detach a=3');
    await expectOn('a', nodes);
    for (const line of await containers('logspout', '{{.ID}}')) {
      const [node = '', id = ''] = line.split(' ');
      expect(await cluster.run(node, ['docker', 'exec', id, 'cat', '/host/hostname'])).toBe(node);
    }
    expect(await old("docker service ls --filter name=logspout --format '{{.Mode}} {{.Replicas}}'")).toBe(
      'global 3/3',
    );
  });

  test('runs jobs: so many completions at so many a time, or one on every node, also on one that joins later', async () => {
    const create = 'docker service create --restart-condition none --mode';
    expect(await newest(`${create} global-job --name prepare ${image} true`)).toMatch(/job complete$/);
    const migrated = await newest(
      `${create} replicated-job --replicas 5 --max-concurrent 2 --name migrate ${image} true`,
    );
    expect(migrated).toMatch(/\nactive tasks: [12] out of [12] tasks\n[^]*job complete$/);
    expect(await listed('migrate')).toBe('replicated job 0/2 (5/5 completed)');
    expect((await history('migrate')).map((row) => row.replace(/^[^|]*/, ''))).toEqual(
      Array.from({ length: 5 }, () => like(/^\|skep\/whoami:lab\|node\d\|Complete\|Complete\|$/)),
    );
    expect(await newest('docker service scale migrate=3')).toMatch(/^migrate scaled to 3\n[^]*job complete$/);
    expect(await listed('migrate')).toBe('replicated job 0/2 (3/3 completed)');
    expect(await newest('docker service update --force migrate')).toMatch(/^migrate\n[^]*job complete$/);
    expect(await newest("docker service inspect migrate -f '{{.JobStatus.JobIteration.Index}}'")).toBe('2');

    const label = "--label 'skep.schedule=0 3 * *'";
    expect(await refused(`${create} global-job --name nightly ${label} ${image} true`)).toContain(
      'invalid label skep.schedule="0 3 * *": must be five fields',
    );
    await newest(`${create} replicated-job --detach --name breaks ${image} sh -c 'exit 3'`);
    await expectHistory('breaks', [like(/\|node\d\|Shutdown\|Failed\|task: non-zero exit \(3\)$/)]);
    await eventually('prepare on node3', soonMs, () => listed('prepare'), (said) =>
      expect(said).toBe('global job 0/0 (3/3 completed)'),
    ); // prettier-ignore
    expect((await newest('docker service rm prepare migrate breaks')).split('\n')).toHaveLength(3);
  });

  test('labels nodes, and has tasks where the labels say', async () => {
    const label = async (change: string, node: string): Promise<void> =>
      expect(await newest(`docker node update ${change} ${node}`)).toBe(node);
    await label('--label-add env=test', 'node2');
    expect(await newest('docker node inspect --pretty node2')).toMatch(/^Labels:\n - env=test$/m);
    await newest(
      `docker service create --constraint node.labels.env==test --replicas 3 --name my_web --publish 8080:80 ${image}`,
    );
    await expectOn('my_web', ['node2', 'node2', 'node2']);
    await expectServed('my_web', 8080, ['node1', 'node2']);

    // Where they are they may stay, so they do, and the CLI sees that there is nothing to wait for.
    const stayed = await containers('my_web', '{{.ID}}');
    await newest('docker service update --constraint-rm node.labels.env==test my_web');
    expect(await containers('my_web', '{{.ID}}')).toEqual(stayed);

    await label('--label-add env=prod', 'node1');
    await newest('docker service update --constraint-add node.labels.env==prod my_web');
    await expectOn('my_web', ['node1', 'node1', 'node1']);
    await expectServed('my_web', 8080, ['node1', 'node2']);
    expect((await history('my_web')).filter((row) => row.endsWith('|node1|Running|Running|'))).toHaveLength(
      3,
    );

    await label('--label-rm env', 'node1');
    await expectOn('my_web', []);
    await expectHistory('my_web', [
      like(
        /^my_web\.1\|skep\/whoami:lab\|\|(Ready|Running)\|Pending\|no suitable node \(scheduling constraints not satisfied on \d nodes\)$/,
      ),
      'my_web.1|skep/whoami:lab|node1|Shutdown|Rejected|assigned node no longer meets constraints',
    ]);
    await label('--label-add env=prod', 'node2');
    await expectOn('my_web', ['node2', 'node2', 'node2']);
    expect(await newest('docker service rm my_web')).toBe('my_web');
  });

  test('has the health of tasks watched: one that fails its check is replaced', async () => {
    const check = '--health-interval 1s --health-retries 2';
    await old(
      `docker service create --detach --name never_well --health-cmd "test -e /nothing || exit 1" ${check} --restart-delay 1s ${image}`,
    );
    await old(
      `docker service create --name my_db --health-cmd "test ! -e /tmp/ill || exit 1" ${check} --restart-delay 1s ${image}`,
    );
    const [line = ''] = await containers('my_db', '{{.ID}}');
    const [node = '', first = ''] = line.split(' ');
    expect(await cluster.run(node, ['docker', 'inspect', '-f', '{{.State.Health.Status}}', first])).toBe(
      'healthy',
    );
    await cluster.run(node, ['docker', 'exec', first, 'touch', '/tmp/ill']);
    await eventually('another my_db', soonMs, () => containers('my_db', '{{.ID}}'), (found) => {
      expect(found).toHaveLength(1);
      expect(found[0]).not.toContain(first);
    }); // prettier-ignore
    const unhealthy = /\|Shutdown\|Failed\|task: non-zero exit \(\d+\): dockerexec: unhealthy container$/;
    await expectHistory('my_db', [like(/^my_db\.1\|.*\|Running\|Running\|$/), like(unhealthy)]);
    // One that never gets well never counts.
    await eventually('two failures', soonMs, () => history('never_well', '--no-trunc'), (rows) =>
      expect(rows.filter((row) => unhealthy.test(row)).length).toBeGreaterThanOrEqual(2),
    ); // prettier-ignore
    const counts = "docker service ls --filter name=never_well --format '{{.Replicas}}'";
    expect(await old(counts)).toBe('0/1');
    await old('docker service rm my_db never_well');
  });

  test('has containers of another node at hand', async () => {
    const where = '--constraint node.hostname==node2';
    const sayAll = "sh -c 'echo hello; while echo again; do sleep 1; done'";
    await newest(`docker service create --detach --name far ${where} skep/busybox:lab ${sayAll}`);
    const [line = ''] = await eventually('far runs', soonMs, () => containers('far', '{{.ID}}'), (found) => expect(found).toHaveLength(1)); // prettier-ignore
    const id = line.split(' ')[1] ?? '';
    const name = "$(docker service ps far --no-trunc --format '{{.Name}}.{{.ID}}')";
    for (const docker of [old, newest]) {
      const short = id.slice(0, 12);
      expect(await docker(`docker exec -e A=b -w /tmp ${id} sh -c 'echo $A; pwd; hostname'`)).toBe(
        `b\n/tmp\n${short}`,
      );
      expect(await docker(`docker exec ${short} sh -c 'exit 42' || echo $?`)).toBe('42');
      expect(await docker(`docker logs --tail 1 ${name}`)).toBe('again');
      expect(await docker(`docker logs --follow ${id} | head -n 1`)).toBe('hello');
      expect(await docker(`docker top ${id}`)).toMatch(/sleep 1|sh -c/);
      expect(await docker(`docker inspect --format '{{.State.Running}}' ${id}`)).toBe('true');
      expect(await docker(`docker attach --no-stdin --sig-proxy=false ${id} | head -n 1`)).toBe('again');
      expect(await docker(`script -qec 'docker exec -it ${id} sh -c tty' /dev/null`)).toContain('/dev/pts/0');
      const there = await docker(
        ['f=$(mktemp)', 'head -c 5000000 /dev/urandom > $f', `docker exec -i ${id} cat < $f | cmp - $f`]
          .concat([
            `docker cp $f ${id}:/tmp/f`,
            `docker cp ${id}:/tmp/f $f.back`,
            'cmp $f $f.back',
            'rm $f $f.back',
          ])
          .join(' && '),
      );
      expect(there).not.toContain('differ');
    }
    expect(await refused(`docker stop ${id}`)).toContain('is of service far and runs on node node2');
    expect(await refused('docker exec no-such-container true')).toContain(
      'No such container: no-such-container',
    );
    await newest('docker service rm far');
  });

  test('reads logs as the options say; of terminals, too', async () => {
    const create = (name: string, options: string, script: string): Promise<string> =>
      cluster.run(manager, [
        ...`docker service create -d --name ${name} ${options} --no-resolve-image --constraint node.hostname==node2`.split(
          ' ',
        ),
        ...[image, 'sh', '-c', `${script}; exec sleep 1000`],
      ]);
    await create(
      'spoken',
      '--log-driver json-file --log-opt tag=spoken --log-opt env=MOOD -e MOOD=calm',
      'echo one; echo two >&2; sleep 1; echo three',
    );
    await create('drawn', '--tty', 'printf "\\033[1mbold\\033[0m\\n"; echo end');
    const logs = (options: string): Promise<string> => old(`docker service logs ${options} 2>&1`);
    await eventually('all has been said', soonMs, () => logs('--raw spoken'), (said) =>
      expect(said.split('\n').sort()).toEqual(['one', 'three', 'two']),
    ); // prettier-ignore
    await eventually('the terminal’s, too', soonMs, () => logs('--raw drawn'), (said) =>
      expect(said).toBe('\u001b[1mbold\u001b[0m\r\nend'),
    ); // prettier-ignore
    expect(await logs('--raw --tail 1 drawn')).toBe('end');

    const [task = '', node = ''] = [
      await old('docker service ps -q --no-trunc spoken'),
      await old('docker node inspect -f {{.ID}} node2'),
    ];
    const short = task.slice(0, 12);
    const service = await old('docker service inspect -f {{.ID}} spoken');
    const only = (options: string): Promise<string> => logs(`${options} --tail 1 spoken`);
    expect(await only('')).toMatch(new RegExp(`^spoken\\.1\\.${short}@node2 +\\| three$`));
    expect(await only('--no-trunc')).toMatch(new RegExp(`^spoken\\.1\\.${task}@node2 +\\| three$`));
    expect(await only('--no-task-ids')).toMatch(/^spoken\.1@node2 +\| three$/);
    expect(await only('--no-resolve --no-trunc')).toMatch(
      new RegExp(`^${service}\\.1\\.${task}@${node} +\\| three$`),
    );
    expect(await only('--raw --timestamps')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z three$/);
    const swarm = `com.docker.swarm.node.id=${node},com.docker.swarm.service.id=${service},com.docker.swarm.task.id=${task}`;
    expect(await only('--raw --details')).toBe(`MOOD=calm,${swarm},tag=spoken three`);
    expect(await only('--details')).toMatch(/\| MOOD=calm,tag=spoken three$/);
    expect(
      await cluster.lab.exec(manager, ['sh', '-c', 'docker service logs --raw spoken 2>/dev/null']),
    ).toMatchObject({
      stdout: 'one\nthree\n',
    });
    const [at = ''] = (await only('--raw --timestamps')).split(' ');
    expect(await logs(`--raw --since ${at} spoken`)).toBe('three');
    expect(await logs('--raw --since 24h --tail 0 spoken')).toBe('');
    expect(await logs(`--raw --tail 1 ${task}`), 'of one task').toBe('three');
    await old('docker service rm spoken drawn');
  });

  test('is told what is wrong', async () => {
    const create = (name: string, words: string): Promise<string> =>
      newest(`docker service create --detach --name ${name} ${words}`);
    await create('failing', `--restart-delay 1s ${image} sh -c 'exit 3'`);
    await create('unknown', `--restart-delay 1s ${image} no-such-command`);
    await create('unmounted', `--mount type=bind,source=/nothing,destination=/x ${image}`);
    await create('large', `--reserve-memory 999g ${image}`);
    await create('everywhere_large', `--mode global --reserve-cpu 99 ${image}`);
    await create('crowded', `--replicas 4 --replicas-max-per-node 1 ${image}`);
    await create('doubled', `--replicas 4 --publish mode=host,published=9000,target=80 ${image}`);
    const [absent, misplaced] = await Promise.all([
      awaited('docker service create --name absent --restart-delay 1s skep/absent:1', 'No such'),
      awaited(
        `docker service create --name misplaced --constraint node.labels.no==where ${image}`,
        'suitable',
      ),
    ]);
    expect(absent).toMatch(/^1\/1: No such image: skep\/absent:1: /);
    expect(misplaced).toMatch(
      /^1\/1: no suitable node \(scheduling constraints not satisfied on \d nodes?\) *$/,
    );

    const expectError = (service: string, pattern: RegExp): Promise<unknown> =>
      eventually(`what is wrong with ${service}`, soonMs, () => history(service, '--no-trunc'), (rows) =>
        expect(rows).toContainEqual(like(pattern)),
      ); // prettier-ignore
    await Promise.all([
      expectError('absent', /\|skep\/absent:1\|node\d\|Shutdown\|Rejected\|No such image: skep\/absent:1: .*registry-1\.docker\.io/),
      expectError('failing', /\|node\d\|Shutdown\|Failed\|task: non-zero exit \(3\)$/),
      expectError('unknown', /\|Failed\|starting container failed: .*"no-such-command": executable file not found/),
      expectError('unmounted', /\|Rejected\|invalid mount config for type "bind": bind source path does not exist: \/nothing$/),
      expectError('misplaced', /^misplaced\.1\|[^|]*\|\|Running\|Pending\|no suitable node \(scheduling constraints not/),
      expectError('large', /^large\.1\|.*\|\|Running\|Pending\|no suitable node \(insufficient resources on \d nodes?\)$/),
      expectError('everywhere_large', /\|node1\|Running\|Pending\|insufficient resources on 1 node$/),
      expectError('crowded', /\|\|Running\|Pending\|no suitable node \(max replicas per node limit exceed\)$/),
      expectError('doubled', /\|\|Running\|Pending\|no suitable node \(host-mode port already in use on \d nodes\)$/),
    ]); // prettier-ignore
    const made = 'absent misplaced failing unknown unmounted large everywhere_large crowded doubled';
    expect((await newest(`docker service rm ${made}`)).split('\n')).toEqual(made.split(' '));
  });

  test('keeps secrets and configs, gives them to a service, and changes which', async () => {
    const id = /^[0-9a-z]{25}$/;
    expect(await old('printf THE-PASSWORD | docker secret create -l a=b db_password -')).toMatch(id);
    expect(
      await newest('printf %s ANOTHER > /tmp/next; docker secret create db_password_2 /tmp/next'),
    ).toMatch(id);
    const template = 'password={{ secret "pw" }} in {{ .Task.Slot }} of {{ .Service.Name }}';
    expect(
      await newest(`printf '${template}' | docker config create --template-driver golang site -`),
    ).toMatch(id);
    const refusals = await Promise.all([
      refused('printf x | docker secret create db_password -'),
      refused('printf x | docker secret create .x -'),
      refused('docker secret create empty /dev/null'),
      refused('head -c 512000 /dev/zero | docker secret create large -'),
      refused('head -c 1024000 /dev/zero | docker config create large -'),
      refused('docker secret create -d vault of_vault'),
      refused('docker service create --secret nope busybox:latest'),
    ]);
    for (const [at, words] of [
      'secret db_password already exists',
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed',
      'secret data must be larger than 0 and less than 512000 bytes',
      'secret data must be larger than 0 and less than 512000 bytes',
      'config data must be larger than 0 and less than 1024000 bytes',
      'plugin "vault" not found',
      'secret not found: nope',
    ].entries())
      expect(refusals[at]).toContain(words);
    expect(await old("docker secret ls --filter label=a=b --format '{{.Name}}'")).toBe('db_password');
    const shown = await newest(
      'docker secret inspect db_password db_password_2; docker config inspect --pretty site',
    );
    expect(shown).toContain('"a": "b"');
    expect(shown).toContain(template);
    expect(shown).not.toContain('THE-PASSWORD');

    await old(
      [
        'docker service create --detach --name vault --replicas 1 --user 70',
        '--secret source=db_password,target=pw,uid=70,gid=71,mode=0400 --secret db_password_2',
        '--config source=site,target=/etc/vault/site.conf skep/busybox:lab sleep 100000',
      ].join(' '),
    );
    const running = () =>
      eventually('a task of vault', soonMs, () => containers('vault', '{{.ID}}'), (found) =>
        expect(found).toHaveLength(1),
      ); // prettier-ignore
    const inside = async (script: string): Promise<string> => {
      const [node = '', container = ''] = (await running())[0]?.split(' ') ?? [];
      const argv = ['docker', '-H', 'unix:///run/docker.sock', 'exec', container, 'sh', '-c', script];
      return cluster.run(node, argv);
    };
    /** Of every node, the files of secrets and configs that it has. */
    const files = async (): Promise<string[]> => {
      const argv = ['sh', '-c', 'cat /run/skep/tasks/*/* 2>/dev/null; true'];
      return Promise.all(nodes.map((node) => cluster.run(node, argv)));
    };
    const [where = ''] = (await running())[0]?.split(' ') ?? [];
    expect(await inside('cat /run/secrets/pw; ls -ln /run/secrets/pw; cat /etc/vault/site.conf')).toMatch(
      /^THE-PASSWORD-r-{8} .* 70 +71 .*\npassword=THE-PASSWORD in 1 of vault$/,
    );
    expect((await files()).map((held) => held.includes('THE-PASSWORD'))).toEqual(
      nodes.map((node) => node === where),
    );
    expect(await refused('docker secret rm db_password')).toContain(
      "secret 'db_password' is in use by the following service: vault",
    );

    await newest(
      'docker service update -q --secret-rm db_password --secret-rm db_password_2 --secret-add source=db_password_2,target=pw vault',
    );
    expect(await inside('cat /run/secrets/pw; echo; cat /etc/vault/site.conf')).toBe(
      'ANOTHER\npassword=ANOTHER in 1 of vault',
    );
    await eventually('the old one is nowhere', soonMs, files, (held) =>
      expect(held.join()).not.toContain('THE-PASSWORD'),
    );
    expect(await old('docker secret rm db_password')).toBe('db_password');
    await old('docker service rm vault');
    await eventually('files', soonMs, files, (held) => expect(held).toEqual(nodes.map(() => '')));
    expect(await newest('docker secret rm db_password_2; docker config rm site')).toBe('db_password_2\nsite');
  });
});

describe('an administrator', () => {
  test('drains a node and takes it back', async () => {
    expect(await old('docker node update --availability drain node2')).toBe('node2');
    await expectOn('logspout', ['node1', 'node3']);
    await eventually('a and b elsewhere', soonMs, () => Promise.all(['a', 'b'].map((name) => containers(name))), (found) => {
      expect(found.map((lines) => lines.length)).toEqual([3, 3]);
      expect(found.flat().filter((line) => line.startsWith('node2'))).toEqual([]);
    }); // prettier-ignore
    expect(await old('docker node ps node2 --filter desired-state=running -q')).toBe('');
    expect(await old("docker node ls --filter name=node2 --format '{{.Availability}}'")).toBe('Drain');
    expect(await old('docker node update --availability active node2')).toBe('node2');
    await expectOn('logspout', nodes);
  });

  test('makes a worker a manager, and a worker again', async () => {
    const listed = (node: string): Promise<{ exitCode: number; stdout: string; stderr: string }> =>
      cluster.lab.exec(node, ['docker', 'node', 'ls', '--format', '{{.Hostname}}={{.ManagerStatus}}']);
    expect(await old('docker node promote node2')).toBe('Node node2 promoted to a manager in the swarm.');
    await eventually('node2 answers as a manager', soonMs, () => listed('node2'), ({ exitCode, stdout }) =>
      expect([exitCode, stdout.trim().split('\n').sort()]).toEqual([0, ['node1=Leader', 'node2=Reachable', 'node3=']]),
    ); // prettier-ignore
    const [, far] = await containers('logspout', '{{.ID}}').then((lines) => lines.at(-1)?.split(' ') ?? []);
    expect(await cluster.run('node2', ['docker', 'exec', far ?? '', 'hostname'])).toBe(far?.slice(0, 12));
    expect(await old('docker node demote node2')).toBe('Manager node2 demoted in the swarm.');
    await eventually('node2 is a worker', soonMs, () => listed('node2'), ({ exitCode, stderr }) => {
      expect(exitCode).toBe(1);
      expect(stderr).toContain("Worker nodes can't be used to view or modify cluster state.");
    }); // prettier-ignore
    expect(await refused('docker node demote node1')).toContain(
      'attempting to demote the last manager of the swarm',
    );
    // None of its tasks noticed.
    await expectOn('logspout', nodes);
  });

  test('serves the API over TCP to certificates, each for what its role may', async () => {
    // As README.md has it: issued on a machine of the administrator's, and the server's files taken to the server.
    await cluster.run('node2', ['bash', '-c', certificates], convergeDeadlineMs);
    for (const file of ['ca.pem', 'server.pem', 'server-key.pem']) {
      const pem = await cluster.run('node2', ['cat', `/run/tls/${file}`]);
      await cluster.run(manager, [
        'sh',
        '-c',
        `umask 077; mkdir -p /run/tls; echo '${pem}' >/run/tls/${file}`,
      ]);
    }
    const settings = `SKEP_HOSTS=tcp://0.0.0.0:2376
SKEP_TLSCACERT=/run/tls/ca.pem
SKEP_TLSCERT=/run/tls/server.pem
SKEP_TLSKEY=/run/tls/server-key.pem`;
    await old(`echo '${settings}' >/run/lab/disk/skepd.env; kill $(cat /run/lab/pid/skepd)`);
    const as = (name: string, words: string): Promise<{ exitCode: number; stdout: string; stderr: string }> =>
      cluster.lab.exec('node2', [
        ...['docker', '--tlsverify', '--tlscacert', '/run/tls/ca.pem', '--tlscert', `/run/tls/${name}.pem`],
        ...['--tlskey', `/run/tls/${name}-key.pem`, '-H', 'tcp://192.168.60.1:2376', ...words.split(' ')],
      ]);
    await eventually('alice is answered', soonMs, () => as('alice', 'service ls --format {{.Name}}'), ({ stdout }) =>
      expect(stdout.split('\n')).toContain('logspout'),
    ); // prettier-ignore
    expect((await as('alice', 'service update -d --label-add by=alice logspout')).exitCode).toBe(0);
    expect((await as('alice', 'swarm join-token worker')).stderr).toMatch(/GET \/swarm is for role admin/);
    expect((await as('bob', 'service rm logspout')).stderr).toMatch(
      /is for role operator, .* has role read-only/,
    );
    expect((await as('carol', 'node ls')).stderr).toMatch(/access denied to "carol"/);
    const { exitCode } = await cluster.lab.exec('node2', 'docker -H tcp://192.168.60.1:2376 ps'.split(' '));
    expect(exitCode).not.toBe(0);
    // Over the socket as before.
    expect(await old("docker service inspect --format '{{.Spec.Labels.by}}' logspout")).toBe('alice');
  });

  test('follows logs over the death of the engine that has them, and misses nothing', async () => {
    const create =
      'docker service create -d --name counting --no-resolve-image --constraint node.hostname==node2';
    await cluster.run(manager, [
      ...[...create.split(' '), image],
      ...['sh', '-c', 'i=0; while :; do echo $((i += 1)); sleep 0.1; done'],
    ]);
    const following = cluster.lab.exec(
      manager,
      ['sh', '-c', 'docker service logs -f --raw counting >/run/counting 2>&1'],
      { deadlineMs: 180_000 },
    );
    const counted = async (): Promise<string[]> =>
      (await old('touch /run/counting; cat /run/counting')).split('\n').filter(Boolean);
    const expectBehind = (count: number): Promise<string[]> =>
      eventually(`more than ${count}`, soonMs, counted, (found) =>
        expect(found.length).toBeGreaterThan(count),
      ); // prettier-ignore
    await expectBehind(5);
    const [container = ''] = await containers('counting', '{{.ID}}');
    await cluster.run('node2', ['sh', '-c', 'kill -9 $(cat /run/lab/pid/dockerd)']);
    const before = (await counted()).length;
    const read = await expectBehind(before + 20);
    expect(read).toEqual(read.map((_, i) => String(i + 1)));
    expect(await containers('counting', '{{.ID}}'), 'the container went on').toEqual([container]);
    await old('docker service rm counting');
    expect((await following).exitCode).toBe(0);
  });

  test('follows a service’s logs over new tasks and the loss of a node, and reads what happened', async () => {
    const asked =
      'docker service create -d --name chat --replicas 2 --replicas-max-per-node 1 --no-resolve-image';
    await cluster.run(manager, [
      ...[...asked.split(' '), '--hostname', '{{.Node.Hostname}}', image],
      ...['sh', '-c', 'while :; do echo from $HOSTNAME; sleep 0.3; done'],
    ]);
    await expectContainers('chat', 2);
    const following = cluster.lab.exec(
      manager,
      ['sh', '-c', 'timeout 150 docker service logs -f chat >/run/chat 2>&1'],
      { deadlineMs: 180_000 },
    );
    expect(await old('docker service scale -d chat=3')).toBe('chat scaled to 3');
    /** How many lines of each node have come. */
    const lines = async (): Promise<number[]> => {
      const said = await old('cat /run/chat');
      return nodes.map(
        (node) => said.match(new RegExp(`chat\\.\\d\\.\\w+@${node} +\\| from ${node}$`, 'gm'))?.length ?? 0,
      );
    };
    const expectMore = (than: readonly number[], of: readonly string[]): Promise<number[]> =>
      eventually(`lines of ${of.join(' ')}`, soonMs, lines, (found) =>
        nodes.forEach((node, i) => of.includes(node) && expect(found[i]).toBeGreaterThan(than[i]!)),
      ); // prettier-ignore
    await expectMore([0, 0, 0], nodes);
    await cluster.lab.kill('node3');
    await eventually('the lost node is named', soonMs, () => old('cat /run/chat'), (said) =>
      expect(said).toMatch(/@node3 +\| warning: incomplete log stream: node \w+ (does not answer|disconnected unexpectedly)$/m),
    ); // prettier-ignore
    await expectMore(await lines(), ['node1', 'node2']);
    const history = await cluster.lab.exec(manager, 'docker service logs --tail 2 chat'.split(' '));
    expect(history.stdout).toMatch(/@node1 +\| from node1\n/);
    expect(history.stderr).toMatch(/warning: incomplete log stream\. .* reasons: node \w+ /);
    const before = await lines();
    await cluster.lab.start('node3');
    await expectMore(before, nodes);

    const events = await old(
      'docker events --since 1h --until $(date +%s) --filter scope=swarm --filter service=chat --format \'{{.Action}} {{index .Actor.Attributes "replicas.new"}}\'',
    );
    expect(events.split('\n').filter((line, i) => i === 0 || /\d/.test(line))).toEqual([
      'create ',
      'update 3',
    ]);
    await old('docker service rm chat');
    expect((await following).exitCode, 'it ends with the service').toBe(0);
  });
});
