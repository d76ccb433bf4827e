/** Where Skep answers otherwise on purpose, or cannot answer alike: the first row that fits explains a difference. */
import type { Reason } from './judge.js';

const any = /^/;

const row = (because: string, asked: RegExp, differs: RegExp): Reason => ({ because, asked, differs });

export const reasons: readonly Reason[] = [
  row(
    'Every `/_ping` says what the node is in the swarm, by the header that Docker has sent since API 1.42',
    any,
    /^header swarm /,
  ),
  row(
    'The oldest version is 1.24, as of today’s engines; 20.10 went back to 1.12, and answered such clients in plain text',
    /\/v(0\.9|1|1\.1\d|1\.2[0-3])\//,
    any,
  ),
  row(
    'A version that is refused is refused with the headers that every answer has, and as JSON',
    /\/v(1\.99|2\.0)\//,
    /^(header|body)/,
  ),
  row(
    'Nodes are labelled with what their kernel can do: which balancer serves it',
    any,
    /^body(\[\d+\])?\.(Labels|Description\.Engine\.Labels) SWARM/,
  ),
  row(
    'Containers get their networks from Skep’s own driver, which the engine lists',
    /\/info/,
    /^body\.Plugins\.Network/,
  ),
  row(
    'The log driver that a cluster gives to its tasks is kept and shown; Swarm forgets it on the way out, and so with the next update',
    any,
    /TaskDefaults\.LogDriver|LogConfig\.Config\.max-size/,
  ),
  row(
    'What a client did wrong is 400, also where Swarm finds out so late that it answers 500',
    /swarm\/(init|join)/,
    /^status SWARM 500 SKEP 400/,
  ),
  row(
    'An address that cannot be listened on is refused in Node’s words, as a matter of the node’s (503)',
    /ListenAddr/,
    /^(status|body\.message)/,
  ),
  row(
    'Of two faults another one is told first',
    /swarm\/init \{"Availability":"nonsense"\}|swarm\/join \{\}|SigningCAKey/,
    /^body\.message/,
  ),
  row(
    'A certificate without its key is refused, not passed over',
    /SigningCACert/,
    /^(status|header content-type|body) SWARM/,
  ),
  row(
    'A certificate lifetime of less than an hour is refused before there is a swarm; Swarm makes one, says that it failed, and stays in it',
    /NodeCertExpiry/,
    /^(status|body)/,
  ),
  row(
    'A host name of a manager is looked up when it is called, and who cannot be reached is named',
    /\(no address\)/,
    /^(status|body\.message)/,
  ),
  row(
    'A reservation of one named thing is refused: no scheduler, Swarm’s neither, could ever give it',
    /NamedResourceSpec/,
    /^(status|body)/,
  ),
  row('What an update must not say, a rollback must not say either', /rollback: ratio/, /^(status|body)/),
  row(
    'A service that names a network by nothing is told that it is none',
    /Networks":\[\{"Target":""\}\]/,
    /^(status|body)/,
  ),
  row(
    'Images are not resolved for clients older than 1.30, which cannot do it themselves: each node pulls what its registry says',
    /\/v1\.(24|29)\/services\/create/,
    /^body\.Warnings/,
  ),
  row('A container cannot be made on a network that it could not be started on', /not attachable/, any),
  row(
    'Empty lists of a task’s container are sent to the engine as such',
    /containers\/<container>\/json/,
    /^body\.HostConfig\.\w+ SWARM null SKEP \[\]/,
  ),
  row(
    'Networks of a node’s own drivers with the scope of the swarm are not made (see ADR 41)',
    /inswarm|"Driver":"bridge","Scope":"swarm"|networks \(all\)|filters=\{"scope":\["swarm"\]\}/,
    any,
  ),
  row('Configurations of one node are not for overlays', /ConfigFrom/, /^(status|body)/),
  row('Auxiliary addresses are kept and shown', any, /AuxiliaryAddresses/),
  row(
    'Names of networks are found by their beginning, the swarm’s as the node’s',
    /"name":\["pla"\]/,
    /^body/,
  ),
  row(
    'The ingress network is no engine’s, so that nothing of an engine’s is shown of it',
    /networks\/ingress/,
    /^body\.(Containers|Labels|Peers)/,
  ),
  row(
    'Which containers are on the bridge is the engine’s own: tasks of services without networks come and go',
    /networks\/bridge/,
    /^body/,
  ),
  row('The network is looked for before the container', /networks\/\w+\/disconnect/, /^body\.message/),
  row(
    'A locked node says that it is locked, whatever it is asked',
    /^locked \|.*networks\/create/,
    /^(status|body)/,
  ),
];
