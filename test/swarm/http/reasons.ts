/**
 * Where Skep answers otherwise on purpose, or cannot answer alike. Every pattern says the whole of a title, or of a difference, so that
 * a new one cannot hide behind it (test/unit/surface/reasons.test.ts).
 */
import type { Case, Reason } from './judge.js';

const row = (because: string, ...cases: readonly Case[]): Reason => ({ because, cases });

/** What differs in requests of these titles; text means itself. */
const when = (asked: RegExp | string, ...differs: readonly (RegExp | string)[]): Case[] =>
  differs.map((each) => ({ asked: whole(asked), differs: whole(each) }));

const whole = (pattern: RegExp | string): RegExp =>
  pattern instanceof RegExp ? pattern : new RegExp(`^${pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);

const logDriver = '{"Name":"json-file","Options":{"max-size":"2m"}}';
const swarmLocked =
  '"Swarm is encrypted and needs to be unlocked before it can be used. Please use \\"docker swarm unlock\\" to unlock it."';
const notManager =
  '"This node is not a swarm manager. Use \\"docker swarm init\\" or \\"docker swarm join\\" to connect this node to swarm and try again."';
const badAdvertiseAddress =
  '"advertise address must be a non-zero IP address or network interface (with optional port number)"';
const newCa =
  'swarm | POST /v<api>/swarm/update?version=<version> (update: {"CAConfig":{"SigningCACert":"nonsense"}})';
const unattachable = '(on a network that is not attachable)';
const noWarnings = 'body.Warnings SWARM null SKEP nothing';
const bindOption = String.raw`Mounts\[0\]\.BindOptions\.(CreateMountpoint|ReadOnlyNonRecursive) SWARM nothing SKEP true$`;
const wrongType =
  /^body\.message SWARM "invalid JSON: json: cannot unmarshal (string|number( -1)?) into (Go struct field )?[A-Z][A-Za-z0-9.]+ of type [A-Za-z0-9.[\]]+" SKEP "invalid JSON: json: cannot unmarshal (string|number( -1)?) into Go struct field [A-Z][A-Za-z]+\.[A-Za-z0-9.]+ of type [A-Za-z0-9.[\]]+"$/;
const byName =
  'services refused | POST /v<api>/services/create (create: {"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"card","Value":"one"}}]}}})';

export const reasons: readonly Reason[] = [
  row(
    'Every `/_ping` says what the node is in the swarm, by the header that Docker’s daemons since 23.0 send to clients of every API version',
    ...when(
      /^(no swarm|swarm|paths|worker|locked) \| (node2: )?(GET|HEAD) (\/v(<api>|1\.23))?\/_ping( \(of a manager\))?$/,
      /^header swarm SWARM nothing SKEP "(inactive|active\/manager|active\/worker|locked)"$/,
    ),
    ...when('versions | GET /v1.41/_ping', 'header swarm SWARM nothing SKEP "active/manager"'),
  ),
  row(
    'Nodes are labelled with what their kernel can do, for constraints and for the managers: which balancer serves it, and whether it encrypts',
    ...when(
      /^(no swarm|init|swarm|engine|worker|locked|leave) \| (node2: )?GET \/v(<api>|1\.24|1\.38)\/info( \([a-z ]+\))?$/,
      'body.Labels SWARM [] SKEP ["(string)"]',
    ),
    ...when(/^versions \| GET \/v1\.\d\d\/info$/, 'body.Labels SWARM [] SKEP ["(string)"]'),
    ...when(
      /^(nodes|paths) \| GET (\/v(<api>|1\.24|1\.20))?\/nodes(\?filters=(null)?| filters=\{[^}]*\}?\})?( \(with labels\))?$/,
      'body[0].Description.Engine.Labels SWARM nothing SKEP {"skep.balancer":"BALANCER","skep.esp":"BOOLEAN"}',
    ),
    ...when(
      /^nodes \| GET \/v<api>\/nodes\/(<self>|node1|%6eode1)( \((updated|labels gone)\))?$/,
      'body.Description.Engine.Labels SWARM nothing SKEP {"skep.balancer":"BALANCER","skep.esp":"BOOLEAN"}',
    ),
    ...when(
      /^versions \| GET \/v1\.\d\d\/nodes\/node1$/,
      'body.Description.Engine.Labels SWARM nothing SKEP {"skep.balancer":"BALANCER","skep.esp":"BOOLEAN"}',
    ),
  ),
  row(
    'Containers get their networks from Skep’s own driver, which the engine lists',
    ...when(
      /^(engine \| GET \/v<api>\/info \(with tasks\)|versions \| GET \/v1\.\d\d\/info)$/,
      'body.Plugins.Network SWARM ["bridge","host","ipvlan","macvlan","null","overlay"] SKEP ["bridge","host","ipvlan","macvlan","null","overlay","skep"]',
    ),
  ),
  row(
    'The log driver that a cluster gives to its tasks is kept, shown and used; Swarm takes it and forgets it',
    ...when(
      /^(swarm|locked) \| GET \/v<api>\/swarm \((without a name|updated|rotated|with a lock)\)$/,
      `body.Spec.TaskDefaults.LogDriver SWARM nothing SKEP ${logDriver}`,
    ),
    ...when(
      /^(swarm|engine|locked) \| GET \/v<api>\/info \((updated|with tasks|unlocked)\)$/,
      `body.Swarm.Cluster.Spec.TaskDefaults.LogDriver SWARM nothing SKEP ${logDriver}`,
    ),
    ...when(
      /^versions \| GET \/v1\.\d\d\/info$/,
      `body.Swarm.Cluster.Spec.TaskDefaults.LogDriver SWARM nothing SKEP ${logDriver}`,
    ),
    ...when(
      /^versions \| GET \/v1\.\d\d\/swarm$/,
      `body.Spec.TaskDefaults.LogDriver SWARM nothing SKEP ${logDriver}`,
    ),
    ...when(
      'engine | GET /v<api>/containers/<container>/json',
      'body.HostConfig.LogConfig.Config.max-size SWARM nothing SKEP "(string)"',
    ),
  ),
  row(
    'What is wrong in a request is 400, as Docker documents it; Swarm has 500 for the faults that it finds after the addresses',
    ...when(
      /^init \| POST \/v<api>\/swarm\/init \(\{("(ListenAddr|DataPathPort|Availability|DefaultAddrPool|SubnetSize)":("0\.0\.0\.0:(abc|99999)"|1|20|30|65535|"nonsense"|\["[^"]+"\]),?)+\}\)$/,
      'status SWARM 500 SKEP 400',
    ),
    ...when(
      'leave | POST /v<api>/swarm/init ({"Spec":{"Name":"default","CAConfig":{"NodeCertExpiry":1}}})',
      'status SWARM 500 SKEP 400',
    ),
    ...when('init | POST /v<api>/swarm/join ({"Availability":"nonsense"})', 'status SWARM 500 SKEP 400'),
    ...when('join | node2: POST /v<api>/swarm/join (no availability)', 'status SWARM 500 SKEP 400'),
  ),
  row(
    'An address to advertise that is none is refused at a join as at an init; Swarm’s join passes over it, and the node is known by another',
    ...when(
      'init | POST /v<api>/swarm/join ({"AdvertiseAddr":"nonsense"})',
      'status SWARM 500 SKEP 400',
      `body.message SWARM "invalid join token" SKEP ${badAdvertiseAddress}`,
    ),
    ...when(
      'init | POST /v<api>/swarm/join ({"AdvertiseAddr":"nonsense","DataPathAddr":"nonsense"})',
      `body.message SWARM "data path address must be a non-zero IP address or network interface (without a port number)" SKEP ${badAdvertiseAddress}`,
    ),
  ),
  row(
    'A root certificate that is none is refused; Swarm says that the update was made, and goes on with the root that it had',
    ...when(
      newCa,
      'status SWARM 200 SKEP 400',
      'header content-type SWARM nothing SKEP "application/json"',
      'body SWARM nothing SKEP {"message":"rpc error: code = InvalidArgument desc = could not parse the desired CA certificate: no PEM certificate found"}',
    ),
  ),
  row(
    'A manager whose name nobody resolves is named, as one that may answer later (503); Swarm tells of its own address, which it looks for by way of the manager’s',
    ...when(
      'join | node2: POST /v<api>/swarm/join (no address)',
      'status SWARM 500 SKEP 503',
      /^body\.message SWARM "could not find local IP address: dial udp: lookup nonsense [^"]+" SKEP "no manager answers at nonsense:2377: Name resolution failed for target dns:nonsense:2377"$/,
    ),
  ),
  row(
    'A reservation of one named thing is refused: no scheduler, Swarm’s neither, could ever give it',
    ...when(
      byName,
      'status SWARM 201 SKEP 400',
      'body.ID SWARM "ID" SKEP nothing',
      'body.message SWARM nothing SKEP "rpc error: code = InvalidArgument desc = invalid argument for resource card"',
      noWarnings,
    ),
  ),
  row(
    'A container is refused when it is made on a network that it could not be started on, so that `docker run` leaves none behind',
    ...when(
      `engine | POST /v<api>/containers/create ${unattachable}`,
      'status SWARM 201 SKEP 403',
      'unexpected SWARM nothing SKEP true',
      'body.Id SWARM "<refused>" SKEP nothing',
      'body.Warnings SWARM [] SKEP nothing',
      'body.message SWARM nothing SKEP "Could not attach to network over: rpc error: code = PermissionDenied desc = network over not manually attachable"',
    ),
    ...when(
      `engine | POST /v<api>/containers/<refused>/start ${unattachable}`,
      'status SWARM 500 SKEP 404',
      /^body\.message SWARM "(failed to set up container networking: )?Could not attach to network over: rpc error: code = PermissionDenied desc = network over not manually attachable" SKEP "No such container: <refused>"$/,
    ),
    ...when(
      `engine | DELETE /v<api>/containers/<refused> ${unattachable}`,
      'status SWARM 204 SKEP 404',
      'header content-type SWARM nothing SKEP "application/json"',
      'body SWARM nothing SKEP {"message":"No such container: <refused>"}',
    ),
  ),
  row(
    'An overlay that depends on a configuration of one node is refused when it is made; Swarm makes it, and rejects each of its tasks in these words',
    ...when(
      'networks | POST /v<api>/networks/create {"Name":"refused","Driver":"overlay","ConfigFrom":{"Network":"nobody"}}',
      /^status SWARM (201|404) SKEP 403$/,
      'body.Id SWARM "ID" SKEP nothing',
      'body.Warning SWARM "" SKEP nothing',
      'body.message SWARM "configuration network \\"nobody\\" does not exist" SKEP "user specified configurations are not supported if the network depends on a configuration network"',
      'body.message SWARM nothing SKEP "user specified configurations are not supported if the network depends on a configuration network"',
    ),
  ),
  row(
    'Auxiliary addresses of an overlay (`--aux-address`) are kept free and shown; Swarm takes them and forgets them',
    ...when(
      'networks | GET /v<api>/networks/whole',
      'body.IPAM.Config[0].AuxiliaryAddresses SWARM nothing SKEP {"x":"IP"}',
    ),
    ...when(
      /^networks \| GET \/v<api>\/networks filters=\{(("type":\["custom"\],|"dangling":\["true"\],)?"driver":\["overlay"\]|"scope":\["swarm"\])\}$/,
      /^body\[[01]\]\.IPAM\.Config\[0\]\.AuxiliaryAddresses SWARM nothing SKEP \{"x":"IP"\}$/,
    ),
    ...when(
      'networks | GET /v<api>/networks (all)',
      'body[1].IPAM.Config[0].AuxiliaryAddresses SWARM nothing SKEP {"x":"(string)"}',
    ),
  ),
  row(
    'The default bridge of a 20.10 engine shows its gateway when the daemon has found the bridge there at its start: those of the kept answers had been started twice',
    ...when(
      'networks | GET /v<api>/networks (all)',
      /^body\[[56]\]\.(Options\.com\.docker\.network\.[\w.]+|IPAM\.Config\[0\]\.Gateway) SWARM (nothing SKEP "\(string\)"|"\(string\)" SKEP nothing)$/,
    ),
  ),
  row(
    'Part of a name finds a network of the swarm’s as it finds one of the node’s and as Docker documents it; 20.10 finds a part only of those that the asked node’s containers are on',
    ...when(
      'networks | GET /v<api>/networks filters={"name":["pla"]}',
      /^body SWARM \[\] SKEP \[\{"Attachable":true,[^\]]*\]?[^\]]*"Id":"<plain>",[^\]]*"Name":"plain",[^\]]*\}\]$/,
    ),
  ),
  row(
    'The mesh’s end on a node is no endpoint of the engine’s, and has no id there',
    ...when(
      'networks | GET /v<api>/networks/ingress',
      'body.Containers.ingress-sbox.EndpointID SWARM "HEX" SKEP ""',
    ),
  ),
  row(
    'A locked node that is to make an overlay says that it is to be unlocked, as it says elsewhere; Swarm’s advice here is to make another swarm',
    ...when(
      /^locked \| POST \/v<api>\/networks\/create \{"Name":"over","Driver":"overlay"(,"Attachable":true)?\}$/,
      /^status SWARM (500|403) SKEP 503$/,
      `body.message SWARM ${notManager} SKEP ${swarmLocked}`,
    ),
  ),
  row(
    'What a client sent in the wrong type, and a port that is none, are named as by the Go of Docker 20.10; that of Debian’s engine of 1.51 (Go 1.27) names them otherwise',
    ...when(
      'init | POST /v<api>/swarm/init ({"ListenAddr":"0.0.0.0:abc"})',
      'body.message SWARM "manager stopped: failed to listen on remote API address: listen tcp: lookup tcp/abc: unknown port" SKEP "manager stopped: failed to listen on remote API address: listen tcp: address tcp/abc: unknown port"',
    ),
    ...when(
      /^services refused \| POST \/v<api>\/services\/create (\{"TaskTemplate":\{"ContainerSpec":\{"Env":"A=1"\}\}\}|\(create: (negative replicas|\[\{"TargetPort":"x"\}\]|\{"(StopGracePeriod|OomScoreAdj)":"x"\}|\{"(Hosts|Sysctls|Privileges|Mounts|Resources|RestartPolicy|ForceUpdate)":(\[7\]|\{"a":1\}|\{"NoNewPrivileges":"x"\}|\[\{"Type":"tmpfs","Target":"\/a","TmpfsOptions":\{"Options":\["a"\]\}\}\]|\{"Limits":\{"NanoCPUs":"x"\}\}|\{"MaxAttempts":-1\}|-1)\})\))$/,
      wrongType,
    ),
    ...when(
      'swarm | POST /v<api>/swarm/update?version=<version> (update: {"Orchestration":{"TaskHistoryRetentionLimit":"x"}})',
      wrongType,
    ),
    ...when(
      'nodes | POST /v<api>/nodes/<self>/update?version=<version> {"Role":"manager","Availability":"active","Labels":{"a":1}}',
      wrongType,
    ),
    ...when(
      /^(secrets|configs) \| POST \/v<api>\/(secrets|configs)\/create \{"Name":"x","Data":"eA==","Labels":\{"a":1\}\}$/,
      wrongType,
    ),
    ...when(
      /^(secrets|configs) \| POST \/v<api>\/(secrets|configs)\/create \{"Name":"x","Data":"\*\*\*"\}$/,
      /^body\.message SWARM "invalid JSON: json: cannot unmarshal string into Go struct field (Secret|Config)Spec\.Data of type \[\]uint8: illegal base64 data at input byte 0" SKEP "invalid JSON: illegal base64 data at input byte 0"$/,
    ),
    ...when(
      /^networks \| POST \/v<api>\/networks\/create \{"Name":"refused","Driver":"overlay",("Labels":\{"a":1\}|"EnableIPv4":"x")\}$/,
      wrongType,
    ),
  ),
  row(
    'What a bind mount says of its mount point and of mounts below it is kept; Swarm forgets it on the way in',
    ...when(
      /^services \| GET \/v<api>\/services\/full(\?insertDefaults=true)?$/,
      new RegExp(String.raw`^body\.Spec\.TaskTemplate\.ContainerSpec\.${bindOption}`),
    ),
    ...when(
      /^services \| GET \/v(<api>|1\.24|1\.40)\/services(\?(status=(true)?|filters=(null)?)| filters=\{("(name|mode|runtime)":[{[][^}\]]+[}\]])?\})?$/,
      new RegExp(String.raw`^body\[\d\]\.Spec\.TaskTemplate\.ContainerSpec\.${bindOption}`),
    ),
    ...when(
      /^versions \| GET \/v(<api>|1\.\d\d)\/services\/at-1-\d\d( \(updated\))?$/,
      new RegExp(String.raw`^body\.(Spec|PreviousSpec)\.TaskTemplate\.ContainerSpec\.${bindOption}`),
    ),
    ...when(
      /^(services|tasks) \| GET \/v<api>\/tasks(\?filters=(null)?| filters=\{("(service|desired-state|runtime|_up-to-date)":[{[][^}\]]+[}\]])?\})( \(pending\))?$/,
      new RegExp(String.raw`^body\[\d+\]\.Spec\.ContainerSpec\.${bindOption}`),
    ),
  ),
  row(
    'A profile that is none is refused, so that nobody has less protection than asked for; Swarm takes the default one',
    ...when(
      /^services refused \| POST \/v<api>\/services\/create \(create: \{"Privileges":\{("Seccomp":\{"Mode":"(nonsense"|custom"(,"Profile":"bm9uc2Vuc2U=")?)|"AppArmor":\{"Mode":"nonsense")\}\}\}\)$/,
      'status SWARM 201 SKEP 400',
      'body.ID SWARM "ID" SKEP nothing',
      noWarnings,
      /^body\.message SWARM nothing SKEP "invalid (seccomp mode: \\"nonsense\\"|AppArmor mode: \\"nonsense\\"|seccomp profile: mode \\"custom\\" needs a profile in JSON)"$/,
    ),
  ),
  row(
    'Mounts that no node could make are refused, and it is said why',
    ...when(
      /^services refused \| POST \/v<api>\/services\/create \(create: \{"Mounts":\[\{"Type":"(cluster|npipe)","Source":"v","Target":"\/a"\}\]\}\)$/,
      'status SWARM 201 SKEP 400',
      'body.ID SWARM "ID" SKEP nothing',
      noWarnings,
      /^body\.message SWARM (nothing|"invalid MountType: \\"cluster\\"") SKEP "invalid MountType: \\"(cluster\\": cluster volumes are not supported|npipe\\": named pipes are of Windows)"$/,
    ),
  ),
  row(
    'Volumes of the cluster, which Swarm has of plugins (CSI), are not made',
    ...when(
      'versions | POST /v<api>/volumes/create (of the cluster)',
      'status SWARM 201 SKEP 501',
      /^body\.(ClusterVolume|CreatedAt|Driver|Labels|Mountpoint|Name|Options|Scope) SWARM (\{"CreatedAt":"TIME","ID":"ID",.*"Group":"g"\}.*\}|"(TIME|nonsense|everywhere|global|)"|null) SKEP nothing$/,
      'body.message SWARM nothing SKEP "cluster volumes are not supported"',
    ),
    ...when(
      'versions | GET /v<api>/volumes/everywhere',
      'status SWARM 200 SKEP 404',
      /^body\.(ClusterVolume|CreatedAt|Driver|Labels|Mountpoint|Name|Options|Scope) SWARM (\{"CreatedAt":"\(string\)",.*\}|"\(string\)"|null) SKEP nothing$/,
      'body.message SWARM nothing SKEP "(string)"',
    ),
    ...when(
      'versions | PUT /v<api>/volumes/everywhere?version=1',
      'body.message SWARM "rpc error: code = NotFound desc = volume everywhere not found" SKEP "volume everywhere not found"',
    ),
  ),
  row(
    'Balancers are no endpoints of networks',
    ...when(
      /^versions \| GET \/v1\.\d\d\/networks\/wide$/,
      /^body\.Containers\.lb-wide SWARM \{"EndpointID":"HEX","IPv4Address":"IP\/24","IPv6Address":"","MacAddress":"MAC","Name":"wide-endpoint"\} SKEP nothing$/,
    ),
  ),
  row(
    'The engine is told of Skep’s name server and of the aliases of a user’s container, and shows them as it was told',
    ...when(
      /^versions \| GET \/v(<api>|1\.\d\d)\/containers\/wide\/json( \(on two\))?$/,
      'body.HostConfig.Dns SWARM null SKEP ["(string)"]',
      'body.NetworkSettings.Networks.wide.DriverOpts.skep.aliases SWARM nothing SKEP "(string)"',
      'body.NetworkSettings.Networks.wide.Aliases SWARM ["(string)"] SKEP null',
    ),
  ),
];
