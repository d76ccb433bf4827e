/** Jobs: what the CLI says of them, run by Skep and by Docker's own Swarm mode side by side. What Skep does better is in ADR 31. */
import { test } from 'vitest';
import { compare } from './compare.js';

const image = 'skep/whoami:lab';
const at = '192.168.60.1:2377';
const rows = 'service ls --format {{.Name}}={{.Mode}}={{.Replicas}}';
const tasks = '--format {{.Name}}={{.DesiredState}}={{.CurrentState}}={{.Error}}';

test('jobs are created, waited for, updated, scaled, rolled back and removed', async () => {
  await compare(async (over) => {
    const { lab } = over;
    await lab.must('node1', `swarm init --advertise-addr ${at.split(':')[0]}`);
    const token = await lab.must('node1', 'swarm join-token -q worker');
    for (const node of ['node2', 'node3']) await lab.must(node, `swarm join --token ${token} ${at}`);
    const docker = async (...commands: string[]): Promise<void> => {
      for (const words of commands) await over.docker('node1', words);
    };
    const completed = (name: string, count: string): Promise<void> =>
      over.until('node1', rows, (output) =>
        output.split('\n').some((row) => row.startsWith(`${name}=`) && row.includes(`(${count} completed)`)),
      );
    const create = 'service create --no-resolve-image';

    await docker(
      `${create} -q --name job --mode replicated-job --replicas 5 --max-concurrent 2 ${image} sleep 1`,
    );
    await docker(rows, `service ps job ${tasks}`, 'service inspect --pretty job');
    await docker(
      'service inspect -f {{.Spec.Mode|json}} job',
      'service inspect -f {{.JobStatus.JobIteration|json}} job',
      'service inspect -f {{.UpdateStatus|json}} job',
    );
    await docker('service update -d --force job');
    await completed('job', '5/5');
    await docker('service inspect -f {{.JobStatus.JobIteration|json}} job', `service ps job ${tasks}`);
    await docker('service scale -d job=3');
    await completed('job', '3/3');
    await docker('service inspect -f {{.Spec.Mode|json}} job', 'service rollback -q job');
    await completed('job', '5/5');
    await docker(
      'service update -q --label-add a=b job',
      'service inspect -f {{.JobStatus.JobIteration|json}} job',
    );
    await docker('service update -d --update-parallelism 2 job');

    await docker(`${create} -q --name all --mode global-job ${image} true`, `service ps all ${tasks}`);
    await docker(
      'service inspect -f {{.Spec.Mode|json}} all',
      'service inspect --pretty all',
      'service scale all=2',
    );
    await docker('service update -q --force all', rows);
    await docker(
      'service ls --filter mode=global-job --format {{.Name}}',
      'service ls --filter mode=replicated-job --format {{.Name}}',
    );

    await docker(
      `${create} -d --mode global-job --update-parallelism 2 ${image}`,
      `${create} -d --mode global-job --replicas 2 ${image}`,
      `${create} -d --mode replicated --max-concurrent 2 ${image}`,
      `${create} -d --mode replicated-job --replicas 0 --name none ${image}`,
      `${create} -d --mode replicated-job --max-concurrent 3 --name three ${image} true`,
      `${create} -d --mode job ${image}`,
    );
    await completed('three', '3/3');
    await docker('service rm job all none three', rows);
  }, 30);
});
