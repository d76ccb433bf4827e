/** What goes wrong, by chance: links, daemons, machines, etcd, clocks, engines. Some of it ends by itself, all of it in the end. */
import type { SimHost } from './host.js';
import type { World } from './world.js';

export class Accidents {
  #on = false;

  constructor(private readonly world: World) {}

  begin(): void {
    this.#on = true;
    const { time, chance } = this.world;
    // Some runs are rough, some calm.
    const gapMs = chance.pick([500, 1_500, 4_000]);
    const happen = (): void => {
      if (!this.#on) return;
      this.#happen();
      time.in(chance.between(0.1, 2) * gapMs, happen);
    };
    time.in(chance.between(0, 2) * gapMs, happen);
  }

  end(): void {
    this.#on = false;
  }

  #happen(): void {
    const { world } = this;
    const { chance } = world;
    const present = world.hosts.filter(({ isGone }) => !isGone);
    const host = chance.pick(present);
    const leader = present.find(({ name }) => world.etcd.isLeading(name));
    // Whoever leads is the one to hit.
    const victim = chance.is(0.3) && leader ? leader : host;
    const dice = chance.next();
    if (dice < 0.13) this.#isolate(victim, present);
    else if (dice < 0.21) this.#split(present);
    else if (dice < 0.28) world.network.cut(victim.name, chance.pick(present).name);
    else if (dice < 0.34) this.#say('all links are well', () => world.network.healAll());
    else if (dice < 0.47) this.#kill(victim);
    else if (dice < 0.6) this.#pause(victim);
    else if (dice < 0.68) this.#powerCut(victim);
    else if (dice < 0.74) this.#stopEtcd(victim);
    else if (dice < 0.78) this.#say('an election', () => world.etcd.elect());
    else if (dice < 0.82) this.#say('compaction', () => world.etcd.compact());
    else if (dice < 0.85) world.etcd.breakWatches(victim.name);
    else if (dice < 0.89) this.#setClock(victim);
    else if (dice < 0.94)
      this.#say(`connections of ${victim.name} break`, () => world.network.breakConnections(victim.name));
    else if (dice < 0.97)
      this.#say(`nobody hears ${victim.name}`, () =>
        world.hearing.muffle(victim.name, chance.between(500, 15_000)),
      );
    else host.engine.endSome();
  }

  #say(line: string, what: () => void): void {
    this.world.say(line);
    what();
  }

  #isolate(host: SimHost, all: readonly SimHost[]): void {
    const { chance, time, network } = this.world;
    this.world.say(`${host.name} is cut off`);
    for (const other of all) network.cut(host.name, other.name);
    time.in(chance.between(500, 15_000), () => {
      for (const other of all) network.heal(host.name, other.name);
    });
  }

  #split(all: readonly SimHost[]): void {
    const { chance, time, network } = this.world;
    const left = all.filter(() => chance.is(0.5));
    this.world.say(`split: ${left.map(({ name }) => name).join(' ')} from the others`);
    for (const a of left) for (const b of all) if (!left.includes(b)) network.cut(a.name, b.name);
    time.in(chance.between(500, 15_000), () => network.healAll());
  }

  #kill(host: SimHost): void {
    const { chance, time } = this.world;
    if (!host.process) return;
    this.world.say(`${host.name}'s daemon dies`);
    host.kill();
    time.in(chance.between(50, 12_000), () => this.#startAgain(host));
  }

  #startAgain(host: SimHost): void {
    if (host.process || !host.isPowered || host.isGone) return;
    this.world.say(`${host.name}'s daemon starts`);
    host.start();
  }

  #pause(host: SimHost): void {
    const { chance, time } = this.world;
    const daemon = host.process;
    if (!daemon?.isRunning) return;
    this.world.say(`${host.name}'s daemon is paused`);
    daemon.pause();
    time.in(chance.between(200, 15_000), () => {
      this.world.say(`${host.name}'s daemon goes on`);
      daemon.resume();
    });
  }

  #powerCut(host: SimHost): void {
    const { chance, time } = this.world;
    if (!host.isPowered) return;
    this.world.say(`${host.name} has no power`);
    host.powerOff();
    time.in(chance.between(500, 15_000), () => {
      if (host.isPowered || host.isGone) return;
      this.world.say(`${host.name} boots`);
      host.powerOn();
    });
  }

  #stopEtcd(host: SimHost): void {
    const { chance, time, etcd } = this.world;
    this.world.say(`etcd of ${host.name} ends`);
    etcd.stop(host.name);
    time.in(chance.between(200, 4_000), () => host.isPowered && etcd.start(host.name));
  }

  #setClock(host: SimHost): void {
    const { chance } = this.world;
    const byMs = chance.pick([-1, 1]) * chance.pick([500, 10_000, 3_600_000]) * chance.next();
    this.world.say(`the clock of ${host.name} is set by ${Math.round(byMs)} ms`);
    host.wallOffsetMs += byMs;
  }
}
