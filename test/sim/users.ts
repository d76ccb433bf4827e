/** What users ask for, by chance, as the API writes it: services, networks, nodes, and containers of their own. */
import assert from 'node:assert';
import { deleteNode } from '../../src/controlplane/api/nodes.js';
import { rolledBack } from '../../src/controlplane/api/services.js';
import { userOfNetwork } from '../../src/controlplane/api/network-use.js';
import { mayDemote } from '../../src/controlplane/managers/members-plan.js';
import { SkepError } from '../../src/model/errors.js';
import type { NodeId, ServiceId } from '../../src/model/ids.js';
import type { Service } from '../../src/model/objects.js';
import { rebalanceLabel } from '../../src/model/rebalancing.js';
import { scheduleLabel } from '../../src/model/schedule.js';
import { isJob, nextRun } from '../../src/model/service-laws.js';
import type { ServiceMode, ServiceSpec, TaskSpec } from '../../src/model/service-spec.js';
import { emptyContainer } from '../../src/model/service-spec.js';
import { network, node, ports, reference, serviceSpec, taskSpec } from '../support/cluster-objects.js';
import { jobImage } from './engine.js';
import type { SimHost } from './host.js';
import { plantedOf } from './laws.js';
import type { World } from './world.js';

const servicesMax = 6;
const hostsMax = 7;
const usersMax = 6;

/** A job that may give up would never be complete. */
const asJob = (template: TaskSpec, version = 2): TaskSpec => ({
  ...template,
  container: { ...template.container, image: `${jobImage}${version}` },
  restartPolicy: { condition: 'any', windowNs: 0, ...template.restartPolicy, maxAttempts: 0 },
});

/** Services have different ones, and another image of one may have another. */
const secretsOf = (service: string, image: string): Pick<TaskSpec['container'], 'secrets'> => {
  const [at = 0, version = 0] = [service, image].map((text) => Number(/\d+$/.exec(text)?.[0] ?? 0));
  const id = [undefined, 'secret1', 'secret2'][(at + version) % 3];
  return id === undefined ? {} : { secrets: [reference(id)] };
};

export class Users {
  #on = false;
  #named = 0;

  constructor(private readonly world: World) {}

  begin(): void {
    this.#on = true;
    const { time, chance } = this.world;
    const act = (): void => {
      if (!this.#on) return;
      this.#act();
      time.in(chance.between(50, 2_500), act);
    };
    time.in(0, act);
  }

  end(): void {
    this.#on = false;
  }

  /** What users did to nodes for a while is taken back. */
  undo(): void {
    const { view } = this.world;
    for (const { id, spec } of view.list('node'))
      if (spec.availability !== 'active')
        this.world.write(`activate ${id}`, (tx) => {
          const present = tx.get('node', id);
          if (present) tx.update('node', { ...present, spec: { ...present.spec, availability: 'active' } });
        });
  }

  #act(): void {
    const { chance, world } = this;
    const services = world.view.list('service');
    const dice = chance.next();
    if (services.length === 0 || (dice < 0.25 && services.length < servicesMax)) this.#createService();
    else if (dice < 0.3) {
      const { id } = chance.pick(services);
      world.write(`remove service ${id}`, (tx) => tx.delete('service', id));
    } else if (dice < 0.58) this.#updateService(chance.pick(services).id);
    else if (dice < 0.62) this.#rollBack(chance.pick(services).id);
    else if (dice < 0.72) this.#changeNode();
    else if (dice < 0.78) this.#changeRole();
    else if (dice < 0.81) this.#removeNode();
    else if (dice < 0.84) this.#addNode();
    else if (dice < 0.9) this.#changeNetworks();
    else this.#containers();
  }

  get chance() {
    return this.world.chance;
  }

  #createService(): void {
    const { chance } = this;
    const name = `service${(this.#named += 1)}`;
    const update = {
      parallelism: chance.int(3),
      delayNs: chance.int(2) * 1e9,
      failureAction: chance.pick(['pause', 'continue', 'rollback'] as const),
      monitorNs: 5e9,
      maxFailureRatio: 0,
      order: chance.pick(['stop-first', 'start-first'] as const),
    };
    const endpointSpec = chance.is(0.5)
      ? ports([80, 8_000 + this.#named], [53, undefined, 'udp'])
      : chance.is(0.3)
        ? ports([80])
        : undefined;
    const mode: ServiceMode = chance.is(0.2)
      ? { kind: 'global' }
      : { kind: 'replicated', replicas: chance.int(8) };
    const spec = serviceSpec(name, {
      ...(chance.is(0.3)
        ? this.#job(name)
        : {
            mode,
            labels: mode.kind === 'replicated' && chance.is(0.25) ? { [rebalanceLabel]: '60/minute' } : {},
            taskTemplate: this.#template(name, 'image:1'),
            updateConfig: update,
            rollbackConfig: { ...update, failureAction: 'continue' },
          }),
      ...(endpointSpec && { endpointSpec }),
    });
    this.world.write(`create ${name}`, (tx) => {
      if (tx.get('service', name as ServiceId)) return;
      const run = nextRun(spec, undefined, tx.nowMs);
      tx.create('service', { id: name as ServiceId, spec, specVersion: tx.revision, ...run });
    });
  }

  /** Some are run again every minute. */
  #job(name: string): Pick<ServiceSpec, 'mode' | 'taskTemplate' | 'labels'> {
    const { chance } = this;
    return {
      mode: chance.is(0.4) ? { kind: 'global-job' } : this.#replicatedJob(),
      taskTemplate: asJob(this.#template(name, ''), 1),
      labels: chance.is(0.5) ? { [scheduleLabel]: '* * * * *' } : {},
    };
  }

  #replicatedJob(): ServiceMode {
    const { chance } = this;
    return { kind: 'replicated-job', maxConcurrent: 1 + chance.int(4), totalCompletions: chance.int(8) };
  }

  #template(service: string, image: string): ServiceSpec['taskTemplate'] {
    const { chance } = this;
    const target = chance.pick(['net1', 'net1', 'net2', '']);
    return taskSpec({
      container: {
        ...emptyContainer,
        ...{ image, env: [`SECRET=${plantedOf(service)}`] },
        ...secretsOf(service, image),
      },
      networks: target === '' ? [] : [{ target, aliases: [] }],
      restartPolicy: {
        condition: 'any',
        delayNs: chance.int(3) * 1e9,
        maxAttempts: chance.is(0.2) ? 1 + chance.int(2) : 0,
        windowNs: 0,
      },
    });
  }

  #updateService(id: ServiceId): void {
    const { chance } = this;
    const dice = chance.next();
    const replicas = chance.int(8);
    const job = this.#replicatedJob();
    const image = `image:${chance.is(0.15) ? 'bad' : chance.int(9)}`;
    const template = this.#template(id, image);
    const endpointSpec = chance.pick([ports([80]), ports([80], [81]), { mode: 'dnsrr' as const, ports: [] }]);
    this.world.write(`update ${id}`, (tx) => {
      const service = tx.get('service', id);
      if (!service) return;
      const { spec, updateStatus: _, ...rest } = service;
      const next: ServiceSpec =
        dice < 0.4 && spec.mode.kind === 'replicated'
          ? { ...spec, mode: { kind: 'replicated', replicas } }
          : dice < 0.4 && spec.mode.kind === 'replicated-job'
            ? { ...spec, mode: job }
            : dice < 0.8
              ? { ...spec, taskTemplate: isJob(spec.mode) ? asJob(template) : template }
              : { ...spec, endpointSpec };
      const updated: Service = {
        ...rest,
        spec: next,
        specVersion: tx.revision,
        previousSpec: spec,
        previousSpecVersion: service.specVersion,
        ...nextRun(next, service, tx.nowMs),
      };
      tx.update('service', updated);
    });
  }

  /** As `docker service rollback`, now and then in the middle of an update or of another rollback. */
  #rollBack(id: ServiceId): void {
    this.world.write(`roll ${id} back`, (tx) => {
      const service = tx.get('service', id);
      if (!service?.previousSpec) return;
      tx.update('service', rolledBack(tx, service));
    });
  }

  #changeNode(): void {
    const { chance } = this;
    const { id } = chance.pick(this.world.view.list('node'));
    const availability = chance.pick(['active', 'active', 'drain', 'pause'] as const);
    this.world.write(`${availability} ${id}`, (tx) => {
      const present = tx.get('node', id);
      if (present) tx.update('node', { ...present, spec: { ...present.spec, availability } });
    });
  }

  #changeRole(): void {
    const { id } = this.chance.pick(this.world.view.list('node'));
    this.world.write(`change the role of ${id}`, (tx) => {
      const present = tx.get('node', id);
      if (!present) return;
      const role = present.spec.role === 'manager' ? 'worker' : 'manager';
      const managers = tx.list('node').filter((each) => each.role === 'manager');
      const others = managers.flatMap((each) =>
        each.id !== id && each.spec.role === 'manager' ? [each.id as string] : [],
      );
      // A node that was away then knows nobody any more, as in Swarm: nothing here can bring it back.
      const stranded = this.world.hosts.some(
        ({ isGone, knownManagers }) => !isGone && !knownManagers.some((known) => others.includes(known)),
      );
      if (role === 'worker' && (managers.length <= 1 || stranded || !mayDemote(tx, id)))
        throw new SkepError('failedPrecondition', 'quorum');
      if (role === 'manager' && tx.list('node').filter(({ spec }) => spec.role === 'manager').length >= 5)
        return;
      tx.update('node', { ...present, spec: { ...present.spec, role } });
    });
  }

  #removeNode(): void {
    const { chance, world } = this;
    if (world.view.list('node').length <= 3) return;
    const { id } = chance.pick(world.view.list('node'));
    const force = chance.is(0.3);
    world.write(`remove node ${id}`, (tx) => {
      const present = tx.get('node', id);
      if (!present || tx.list('node').length <= 3) return;
      if (present.managerStatus || present.spec.role === 'manager')
        throw new SkepError('failedPrecondition', 'manager');
      if (!force && present.status.state === 'ready') throw new SkepError('failedPrecondition', 'not down');
      deleteNode(tx, present, tx.nowMs);
    });
  }

  /** As a certificate's issue makes its node. */
  #addNode(): void {
    const { chance, world } = this;
    if (world.hosts.length >= hostsMax) return;
    const name = `node${world.hosts.length + 1}`;
    const managers = world.hosts
      .filter(({ role, isGone }) => role === 'manager' && !isGone)
      .map((host) => host.name);
    if (managers.length === 0) return;
    const made = node(name, { labels: { rack: `r${chance.int(2)}` }, state: 'unknown' });
    const { version: _v, createdAtMs: _c, updatedAtMs: _u, description: _d, ...object } = made;
    const host = world.addHost(name, 'worker', managers);
    world.write(`add ${name}`, (tx) => {
      if (!tx.get('node', name as NodeId)) tx.create('node', object);
    });
    host.start();
  }

  #changeNetworks(): void {
    const { chance, world } = this;
    const mine = world.view.list('network').filter(({ id }) => id.startsWith('extra'));
    if (mine.length < 3 && chance.is(0.6)) {
      const {
        version: _v,
        createdAtMs: _c,
        updatedAtMs: _u,
        ...object
      } = network(`extra${(this.#named += 1)}`);
      world.write(`create network ${object.id}`, (tx) => {
        if (!tx.get('network', object.id)) tx.create('network', object);
      });
    } else if (mine.length > 0) {
      const { id } = chance.pick(mine);
      world.write(`remove network ${id}`, (tx) => {
        const present = tx.get('network', id);
        if (!present) return;
        const user = userOfNetwork(tx, present);
        if (user) throw new SkepError('permissionDenied', user.refusal);
        tx.delete('network', id);
      });
    }
  }

  #containers(): void {
    const { chance, world } = this;
    const able = world.hosts.filter(({ process, isGone }) => process?.isRunning && !isGone);
    const having = world.hosts.filter(({ engine, isGone }) => !isGone && engine.users().length > 0);
    const count = having.reduce((sum, { engine }) => sum + engine.users().length, 0);
    if (able.length > 0 && count < usersMax && chance.is(0.6)) void this.#run(chance.pick(able));
    else if (having.length > 0) {
      const host = chance.pick(having);
      const [first] = host.engine.users();
      assert(first);
      host.engine.removeUser(first.id);
    }
  }

  /** `docker run --network`: a place, then the container; now and then everything dies in between. */
  async #run({ name, agent, process: daemon, engine }: SimHost): Promise<void> {
    const { chance, world } = this;
    if (!agent || !daemon) return;
    const network = chance.pick(['net1', 'net2']);
    try {
      const request = { network, containerId: '', containerName: 'box', aliases: [], address: '' };
      const attached = await agent.attachments.attach(request, new AbortController().signal);
      if (!chance.fault(0.2)) {
        engine.runUser(attached.networkName, attached.address);
        world.say(`user's container on ${name} at ${attached.address}`);
      }
      await agent.attachments.settle([attached.attachmentId]);
    } catch (err) {
      if (!(err instanceof SkepError) && (err as Error).name !== 'EngineError') world.fail(err);
    }
  }
}
