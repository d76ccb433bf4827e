"""Docker's SDK for Python (Debian's python3-docker) drives a swarm of Skep from its first node to its end.

Every public function of the SDK that belongs to the swarm is called at least once, low-level and object-oriented: the last test
asks the SDK itself which there are. What is asserted are effects: what other calls see, what containers print.

usage: python-sdk.py SOCKET1 SOCKET2 ADDRESS1 KILL: the API sockets of two hosts in no swarm, the first one's address, and a shell command that
kills its manager's daemon, which is supervised.
"""
import inspect
import json
import subprocess
import sys
import time
import unittest

import docker
from docker import api, errors, models, types

socket1, socket2, address1, kill_manager = sys.argv[1:5]
image = 'skep/busybox:lab'
echo = ['sh', '-c', 'trap exit TERM; echo hello of $WHO; echo oops >&2; sleep 1d & wait']

# --- what is called --------------------------------------------------------------------------------------------

called = set()


def watched():
    """Every public function of the swarm's part of the SDK, by name, and where it is."""
    parts = [
        api.swarm.SwarmApiMixin, api.service.ServiceApiMixin, api.secret.SecretApiMixin, api.config.ConfigApiMixin,
        api.network.NetworkApiMixin, models.swarm.Swarm, models.nodes.Node, models.nodes.NodeCollection,
        models.services.Service, models.services.ServiceCollection, models.secrets.Secret,
        models.secrets.SecretCollection, models.configs.Config, models.configs.ConfigCollection,
        models.networks.Network, models.networks.NetworkCollection,
    ]
    for part in parts:
        for name, member in vars(part).items():
            if not name.startswith('_') and (inspect.isfunction(member) or isinstance(member, property)):
                yield part, name, member


def watch():
    def recording(key, function):
        def record(*args, **kwargs):
            called.add(key)
            return function(*args, **kwargs)
        return record

    for part, name, member in list(watched()):
        key = f'{part.__name__}.{name}'
        setattr(part, name, property(recording(key, member.fget)) if isinstance(member, property)
                else recording(key, member))


def eventually(what, observe, within_s=30):
    """Asks until the answer is true and gives it; an answer that is refused is asked for again."""
    end = time.monotonic() + within_s
    while True:
        try:
            answer = observe()
            refused = None
        except errors.APIError as error:
            answer, refused = None, error
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f'{what}: not within {within_s} s: {refused or answer}')
        time.sleep(0.1)


def connect(socket):
    return docker.DockerClient(base_url=f'unix://{socket}', version='auto', timeout=60)


class Session(unittest.TestCase):
    """One session, its parts in the order of their names."""

    failfast = True
    client = None
    other = None

    def refused(self, status, explanation, call):
        """The call fails as the SDK's own exception, NotFound where nothing is."""
        with self.assertRaises(errors.NotFound if status == 404 else errors.APIError) as caught:
            call()
        self.assertEqual(caught.exception.status_code, status, caught.exception)
        self.assertIn(explanation, str(caught.exception.explanation))

    def running(self, service, count):
        def tasks():
            found = [task for task in service.tasks(filters={'desired-state': 'running'})
                     if task['Status']['State'] == 'running']
            return found if len(found) == count else None
        return eventually(f'{count} tasks of {service.name}', tasks)

    def logged(self, service, text, **options):
        return eventually(f'{text} in the logs', lambda: text in b''.join(
            service.logs(stdout=True, stderr=True, **options)).decode() and text)

    def printed(self, service, path):
        """The file as the service's container on this host sees it."""
        def read():
            for container in self.client.containers.list(
                    filters={'label': f'com.docker.swarm.service.name={service.name}'}):
                code, output = container.exec_run(['cat', path])
                if code == 0:
                    return output.decode() or '(empty)'
        return eventually(f'{path} in {service.name}', read)

    # --- the swarm --------------------------------------------------------------------------------------------

    def test_01_outside_a_swarm(self):
        self.refused(503, 'This node is not a swarm manager', self.client.services.list)
        self.refused(503, 'This node is not part of a swarm', self.other.swarm.leave)
        self.assertEqual(self.client.swarm.attrs, {})
        self.assertEqual(self.client.info()['Swarm']['LocalNodeState'], 'inactive')

    def test_02_init(self):
        node_id = self.client.swarm.init(
            advertise_addr=address1, default_addr_pool=['10.77.0.0/16'], subnet_size=25,
            task_history_retention_limit=3, snapshot_interval=5000, keep_old_snapshots=1,
            log_entries_for_slow_followers=400, heartbeat_tick=1, election_tick=10,
            dispatcher_heartbeat_period=5_000_000_000, node_cert_expiry=7_776_000_000_000_000,
            labels={'of': 'python'}, name='default', autolock_managers=False)
        swarm = self.client.swarm
        swarm.reload()
        spec = swarm.attrs['Spec']
        self.assertEqual(spec['Labels'], {'of': 'python'})
        self.assertEqual(spec['Orchestration']['TaskHistoryRetentionLimit'], 3)
        self.assertEqual([swarm.attrs['DefaultAddrPool'], swarm.attrs['SubnetSize']], [['10.77.0.0/16'], 25])
        self.assertEqual(self.client.info()['Swarm']['NodeID'], node_id)
        self.refused(503, 'already part of a swarm', lambda: self.client.swarm.init(advertise_addr=address1))

    def test_03_join(self):
        tokens = self.client.swarm.attrs['JoinTokens']
        self.refused(500, 'invalid join token', lambda: self.other.swarm.join([f'{address1}:2377'], 'SWMTKN-1-x'))
        self.assertTrue(self.other.swarm.join([f'{address1}:2377'], tokens['Worker']))
        eventually('two nodes', lambda: len(self.client.nodes.list()) == 2)
        self.refused(503, 'Worker nodes can', self.other.nodes.list)

    def test_04_update(self):
        swarm = self.client.swarm
        before = swarm.attrs
        self.assertTrue(swarm.update(rotate_worker_token=True, rotate_manager_token=True, labels={'of': 'update'},
                                     task_history_retention_limit=4))
        swarm.reload()
        self.assertEqual(swarm.attrs['Spec']['Labels'], {'of': 'update'})
        self.assertEqual(swarm.attrs['Spec']['Orchestration']['TaskHistoryRetentionLimit'], 4)
        self.assertGreater(swarm.version, before['Version']['Index'])
        for role in ['Worker', 'Manager']:
            self.assertNotEqual(swarm.attrs['JoinTokens'][role], before['JoinTokens'][role])
        old = before['Version']['Index']
        spec = self.client.api.create_swarm_spec(name='default')
        self.refused(500, 'update out of sequence', lambda: self.client.api.update_swarm(old, spec))

    def test_05_lock(self):
        swarm = self.client.swarm
        swarm.update(autolock_managers=True, name='default')
        key = swarm.get_unlock_key()['UnlockKey']
        self.assertRegex(key, '^SWMKEY-1-')
        swarm.reload()
        swarm.update(rotate_manager_unlock_key=True, autolock_managers=True, name='default')
        rotated = swarm.get_unlock_key()
        self.assertNotEqual(rotated['UnlockKey'], key)
        self.refused(409, 'swarm is not locked', lambda: swarm.unlock(rotated))
        subprocess.run(['sh', '-c', kill_manager], check=True)

        def state():
            try:
                return self.client.info()['Swarm']['LocalNodeState']
            except Exception:  # The socket is away for a second.
                return None
        eventually('the lock', lambda: state() == 'locked', 60)
        self.refused(503, 'Swarm is encrypted and needs to be unlocked', self.client.services.list)
        self.refused(401, 'invalid key', lambda: swarm.unlock(f'SWMKEY-1-{"0" * 43}'))
        self.assertTrue(swarm.unlock(rotated['UnlockKey']))
        eventually('the manager', lambda: state() == 'active' and self.client.nodes.list())
        swarm.reload()
        swarm.update(autolock_managers=False, name='default')
        self.assertEqual(swarm.get_unlock_key(), {'UnlockKey': ''})

    def test_06_nodes(self):
        nodes = self.client.nodes
        [manager] = nodes.list(filters={'role': 'manager'})
        # The manager has only just begun to lead again, and hears of its workers now.
        [worker] = eventually('the worker', lambda: [node for node in nodes.list(filters={'role': 'worker'})
                                                     if node.attrs['Status']['State'] == 'ready'])
        self.assertEqual(nodes.get(manager.id).attrs['ManagerStatus']['Addr'], f'{address1}:2377')
        spec = {**worker.attrs['Spec'], 'Availability': 'drain', 'Labels': {'disk': 'ssd'}}
        old = worker.version
        worker.update(spec)
        worker.reload()
        self.assertEqual(worker.attrs['Spec']['Availability'], 'drain')
        self.assertEqual([node.id for node in nodes.list(filters={'node.label': 'disk=ssd'})], [worker.id])
        self.refused(500, 'update out of sequence', lambda: self.client.api.update_node(worker.id, old, spec))
        worker.update({**spec, 'Availability': 'active'})
        self.refused(400, 'is not down and can\'t be removed', worker.remove)
        self.refused(404, 'node nope not found', lambda: nodes.get('nope'))

    # --- networks, secrets, configs ---------------------------------------------------------------------------

    def test_07_networks(self):
        networks = self.client.networks
        pool = types.IPAMPool(subnet='10.50.0.0/24', gateway='10.50.0.1', iprange='10.50.0.128/25',
                              aux_addresses={'router': '10.50.0.130'})
        made = networks.create('front', driver='overlay', attachable=True, labels={'tier': 'front'},
                               check_duplicate=True, options={'com.docker.network.driver.mtu': '1400'},
                               scope='swarm', ingress=False, internal=False, enable_ipv6=False,
                               ipam=types.IPAMConfig(pool_configs=[pool]))
        networks.create('back', driver='overlay', internal=True)
        eventually('a subnet', lambda: networks.get(made.id, scope='swarm').attrs['IPAM']['Config'] == [
            {'Subnet': '10.50.0.0/24', 'IPRange': '10.50.0.128/25', 'Gateway': '10.50.0.1',
             'AuxiliaryAddresses': {'router': '10.50.0.130'}}])
        eventually('all overlays', lambda: ['back', 'front', 'ingress'] == sorted(
            each.name for each in networks.list(filters={'driver': 'overlay'})))
        for names in [dict(names=['front']), dict(ids=[made.id]), dict(filters={'label': 'tier=front'}),
                      dict(names=['front'], greedy=True)]:
            self.assertEqual([each.name for each in networks.list(**names)], ['front'], names)
        self.refused(409, 'network with name front already exists', lambda: networks.create('front', driver='overlay'))
        self.refused(404, 'network nope not found', lambda: networks.get('nope'))
        self.refused(409, 'is already present', lambda: networks.create('mesh2', driver='overlay', ingress=True))

        box = self.client.containers.run(image, ['sleep', '1d'], name='box', detach=True, network='front')
        late = self.client.containers.run(image, ['sleep', '1d'], name='late', detach=True)
        front = networks.get('front')
        front.connect(late, aliases=['tardy'], ipv4_address='10.50.0.200')
        self.refused(409, 'late is already attached to network front', lambda: front.connect('late'))
        front.reload()
        self.assertEqual({each.name for each in front.containers}, {'box', 'late'})
        code, output = box.exec_run(['nslookup', '-type=a', 'tardy'])
        self.assertIn('10.50.0.200', output.decode())
        seen = networks.get('front', verbose=True).attrs['Services']['']['Tasks']
        self.assertEqual({task['Name'] for task in seen}, {'box', 'late'})
        self.refused(400, 'is in use by task', front.remove)
        front.disconnect(late, force=True)
        front.reload()
        self.assertEqual([each.name for each in front.containers], ['box'])
        for container in [box, late]:
            container.remove(force=True)

        networks.create('unused', driver='overlay', labels={'prune': 'me'})
        self.assertEqual(networks.prune(filters={'label': 'prune=me'})['NetworksDeleted'], ['unused'])
        networks.get('back').remove()
        self.refused(404, 'network back not found', lambda: networks.get('back'))

    def data(self, collection, kind):
        """Secrets and configs are alike but for who may read them."""
        made = collection.create(name=f'{kind}-1', data=b'what it holds\n', labels={'a': 'b'})
        # What is created knows its name in newer versions of the SDK only.
        found = collection.get(made.id)
        self.assertIn(f'{kind}-1', repr(found))
        self.assertEqual([found.name, found.attrs['Spec']['Labels']], [f'{kind}-1', {'a': 'b'}])
        self.assertEqual([each.id for each in collection.list(filters={'name': f'{kind}-1'})], [made.id])
        self.refused(409, 'already exists', lambda: collection.create(name=f'{kind}-1', data=b'x'))
        self.refused(400, 'larger than', lambda: collection.create(name=f'{kind}-2', data=b'x' * 1_100_000))
        self.refused(404, f'{kind} nope not found', lambda: collection.get('nope'))
        return found

    def test_08_secrets_and_configs(self):
        self.assertNotIn('Data', self.data(self.client.secrets, 'secret').attrs['Spec'])
        self.data(self.client.configs, 'config')

    # --- services ---------------------------------------------------------------------------------------------

    def test_09_a_service_of_every_option(self):
        [secret] = self.client.secrets.list(filters={'name': 'secret-1'})
        [config] = self.client.configs.list(filters={'name': 'config-1'})
        manager = self.client.info()['Swarm']['NodeID']
        service = self.client.services.create(
            image, echo, name='every', env=['WHO=python', 'NODE={{.Node.Hostname}}'],
            labels={'of': 'service'}, container_labels={'of': 'container'},
            mode=types.ServiceMode('replicated', replicas=1), networks=['front'],
            endpoint_spec=types.EndpointSpec(mode='vip', ports={8085: (80, 'tcp'), 8086: (81, 'tcp', 'host')}),
            constraints=[f'node.id=={manager}'], preferences=[('spread', 'node.labels.disk')], maxreplicas=2,
            platforms=[('x86_64', 'linux')],
            resources=types.Resources(cpu_limit=500_000_000, mem_limit=1 << 26, cpu_reservation=1_000_000,
                                      mem_reservation=1 << 23),
            restart_policy=types.RestartPolicy(condition='any', delay=1_000_000_000, max_attempts=0, window=0),
            update_config=types.UpdateConfig(parallelism=1, delay=0, failure_action='rollback', order='start-first',
                                             monitor=1_000_000_000, max_failure_ratio=0.1),
            secrets=[types.SecretReference(secret.id, secret.name, filename='password', mode=0o400)],
            configs=[types.ConfigReference(config.id, config.name, filename='/etc/config-1', uid='0', gid='0')],
            mounts=[types.Mount('/data', 'every-data'), types.Mount('/scratch', None, type='tmpfs', tmpfs_size=1 << 20)],
            hostname='host-{{.Task.Slot}}', hosts={'db': '192.0.2.9'}, groups=['7'], user='0', workdir='/tmp',
            dns_config=types.DNSConfig(search=['example.org'], options=['timeout:3']),
            healthcheck=types.Healthcheck(test=['CMD', 'true'], interval=1_000_000_000, retries=3),
            init=True, open_stdin=True, tty=False, read_only=False, cap_add=['CAP_NET_ADMIN'], cap_drop=['CAP_CHOWN'],
            privileges=types.Privileges(selinux_disable=True), isolation='default',
            stop_signal='SIGKILL', stop_grace_period=1_000_000_000,
            log_driver='json-file', log_driver_options={'max-size': '1m'})
        self.assertEqual(service.name, 'every')
        [task] = self.running(service, 1)
        inside = self.client.containers.get(task['Status']['ContainerStatus']['ContainerID'])
        config_seen, host = inside.attrs['Config'], inside.attrs['HostConfig']
        self.assertEqual(config_seen['Labels']['of'], 'container')
        self.assertEqual(config_seen['Hostname'], 'host-1')
        self.assertIn('NODE=node1', config_seen['Env'])
        self.assertEqual([config_seen['WorkingDir'], config_seen['StopSignal']], ['/tmp', 'SIGKILL'])
        self.assertEqual([host['NanoCpus'], host['Memory'], host['Init']], [500_000_000, 1 << 26, True])
        self.assertEqual([host['CapAdd'], host['CapDrop'], host['GroupAdd']], [['CAP_NET_ADMIN'], ['CAP_CHOWN'], ['7']])
        self.assertEqual(host['LogConfig'], {'Type': 'json-file', 'Config': {'max-size': '1m'}})
        self.assertEqual(host['PortBindings'], {'81/tcp': [{'HostIp': '', 'HostPort': '8086'}]})
        self.assertIn('192.0.2.9\tdb', self.printed(service, '/etc/hosts'))
        self.assertEqual(self.printed(service, '/run/secrets/password'), 'what it holds\n')
        self.assertEqual(self.printed(service, '/etc/config-1'), 'what it holds\n')
        self.assertEqual(inside.exec_run(['sh', '-c', 'df /scratch | tail -1'])[1].split()[0], b'tmpfs')
        self.assertEqual(self.client.volumes.get('every-data').name, 'every-data')
        seen = self.client.networks.get('front', verbose=True).attrs['Services']['every']
        self.assertEqual([each['Name'] for each in seen['Tasks']], [f'every.1.{task["ID"]}'])
        for kind, made in [('secret', secret), ('config', config)]:
            self.refused(400, f"{kind} '{kind}-1' is in use by the following service: every", made.remove)
        self.refused(400, 'is in use by service', self.client.networks.get('front').remove)

    def test_10_looking_at_services(self):
        services = self.client.services
        service = services.get('every')
        self.assertEqual(services.get(service.id, insert_defaults=True).attrs['Spec']['RollbackConfig']['Order'],
                         'stop-first')
        for filters in [{'name': 'every'}, {'id': service.id}, {'label': 'of=service'}, {'mode': 'replicated'}]:
            self.assertEqual([each.id for each in services.list(filters=filters)], [service.id], filters)
        self.assertEqual(services.list(filters={'mode': 'global'}), [])
        [task] = self.running(service, 1)
        self.assertEqual(self.client.api.inspect_task(task['ID'])['ServiceID'], service.id)
        self.assertEqual([each['ID'] for each in self.client.api.tasks({'node': 'node1', 'service': 'every'})],
                         [task['ID']])
        self.logged(service, 'hello of python')
        self.logged(service, 'oops', timestamps=True, details=True, tail=2, since=0)
        followed = service.logs(stdout=True, follow=True)
        self.assertEqual(next(iter(followed)), b'hello of python\n')
        followed.close()
        self.refused(404, 'service nope not found', lambda: services.get('nope'))
        self.refused(404, 'task nope not found', lambda: self.client.api.inspect_task('nope'))
        self.refused(409, 'name conflicts with an existing object', lambda: services.create(image, name='every'))
        self.refused(400, 'name must be valid as a DNS name component', lambda: services.create(image, name='a b'))

    def test_11_changing_services(self):
        service = self.client.services.create(image, echo, name='plain', env=['WHO=one'])
        self.running(service, 1)
        service.reload()
        self.assertTrue(service.scale(3))
        self.running(service, 3)
        service.reload()
        service.update(env=['WHO=two'], mode=types.ServiceMode('replicated', 2))
        self.logged(service, 'hello of two')
        service.reload()
        self.assertEqual(service.attrs['Spec']['TaskTemplate']['ContainerSpec']['Image'], image)
        before = {task['ID'] for task in self.running(service, 2)}
        version = service.version
        self.assertTrue(service.force_update())
        eventually('other tasks', lambda: not before & {task['ID'] for task in self.running(service, 2)})
        self.refused(500, 'update out of sequence', lambda: self.client.api.update_service(
            service.id, version, fetch_current_spec=True, name='plain'))
        everywhere = self.client.services.create(image, echo, name='everywhere', mode='global')
        self.running(everywhere, 2)
        everywhere.reload()
        with self.assertRaises(errors.InvalidArgument):
            everywhere.scale(2)
        for gone in [service, everywhere]:
            self.assertTrue(gone.remove())
            self.refused(404, f'service {gone.id} not found', gone.reload)

    def test_12_events(self):
        since = self.client.version()  # Warms the connection; times are the server's own.
        self.assertTrue(since['ApiVersion'])
        stream = self.client.events(decode=True, filters={'type': 'service', 'event': ['create', 'remove']})
        service = self.client.services.create(image, echo, name='seen')
        service.remove()
        seen = [next(stream) for _ in range(2)]
        stream.close()
        self.assertEqual([(event['Action'], event['Actor']['ID'], event['Actor']['Attributes'], event['scope'])
                          for event in seen],
                         [(action, service.id, {'name': 'seen'}, 'swarm') for action in ['create', 'remove']])

    # --- the engine behind it ---------------------------------------------------------------------------------

    def test_13_the_engine(self):
        client = self.client
        self.assertTrue(client.ping())
        self.assertEqual(client.version()['ApiVersion'], client.api.api_version)
        self.assertEqual(client.info()['Swarm']['Nodes'], 2)
        self.assertEqual({'Containers', 'Images', 'Volumes', 'LayersSize'} - set(client.df()), set())
        self.assertEqual(client.containers.run(image, ['echo', 'hello'], remove=True), b'hello\n')
        self.assertIn(image, client.images.get(image).tags)
        self.assertTrue(client.images.list(name='skep/busybox'))
        self.refused(404, 'nope', lambda: client.images.get('nope'))
        box = client.containers.create(image, ['sh', '-c', 'read x; echo got $x; exec sleep 1d'], stdin_open=True, name='box')
        box.start()
        socket = client.api.attach_socket(box.id, params={'stdin': 1, 'stream': 1})
        socket._sock.sendall(b'this\n')
        eventually('what it read', lambda: b'got this\n' in box.logs())
        socket.close()
        code, streams = box.exec_run(['sh', '-c', 'echo out; echo err >&2; exit 3'], demux=True)
        self.assertEqual([code, streams], [3, (b'out\n', b'err\n')])
        self.assertEqual(box.top()['Titles'][-1], 'CMD')
        box.pause()
        box.unpause()
        box.rename('crate')
        self.refused(409, 'running container', lambda: client.containers.get('crate').remove())
        box.stop(timeout=0)
        self.assertEqual(box.wait()['StatusCode'], 137)
        self.assertTrue(client.containers.prune()['ContainersDeleted'])
        volume = client.volumes.create('mine', labels={'a': 'b'})
        self.assertEqual([each.name for each in client.volumes.list(filters={'label': 'a=b'})], ['mine'])
        volume.remove()
        self.refused(404, 'no such volume', lambda: client.volumes.get('mine'))

    # --- the end ----------------------------------------------------------------------------------------------

    def test_14_removal(self):
        self.client.services.get('every').remove()
        for collection, name in [(self.client.secrets, 'secret-1'), (self.client.configs, 'config-1')]:
            [made] = collection.list(filters={'name': name})
            self.assertTrue(made.remove())
            self.assertEqual(collection.list(), [])
        self.client.networks.get('front').remove()

    def test_15_leave(self):
        self.assertTrue(self.other.swarm.leave())
        [worker] = self.client.nodes.list(filters={'role': 'worker'})
        eventually('the node is down', lambda: self.client.nodes.get(worker.id).attrs['Status']['State'] == 'down')
        self.assertTrue(worker.remove())
        self.assertEqual(len(self.client.nodes.list()), 1)
        self.refused(503, 'You are attempting to leave the swarm on a node that is participating as a manager',
                     self.client.swarm.leave)
        self.assertTrue(self.client.swarm.leave(force=True))
        self.assertEqual(self.client.info()['Swarm']['LocalNodeState'], 'inactive')

    def test_99_nothing_of_the_sdk_was_left_out(self):
        every = {f'{part.__name__}.{name}' for part, name, _ in watched()}
        self.assertGreater(len(every), 60)
        self.assertEqual(every - called, set())


if __name__ == '__main__':
    watch()
    Session.client, Session.other = connect(socket1), connect(socket2)
    unittest.main(argv=sys.argv[:1], verbosity=2, failfast='--failfast' in sys.argv, warnings='ignore')
