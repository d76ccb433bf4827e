/** A whole state to start from, as it comes in a message; tests change a field and look. */
export const stateValue = () => ({
  revision: 10,
  nodeId: 'node1',
  vtep: '192.0.2.1',
  dataPathPort: 4789,
  aliasRange: '240.0.0.0/4',
  overlays: [
    {
      id: 'net1',
      name: 'mynet',
      vni: 4097,
      subnet: '10.0.1.0/24',
      gateway: '10.0.1.1',
      ingress: false,
      internal: false,
      encrypted: false,
      own: { address: '10.0.1.2', mac: '02:00:0a:00:01:02' },
      peers: [
        { nodeId: 'node2', vtep: '192.0.2.2', address: '10.0.1.3', mac: '02:00:0a:00:01:03', espEpoch: 4 },
      ],
      endpoints: [
        {
          taskId: 'task1',
          serviceId: 'web',
          nodeId: 'node1',
          address: '10.0.1.5',
          mac: '02:00:0a:00:01:05',
          name: 'web.1.task1',
          serving: true,
          weight: 1,
          aliases: [] as string[],
          nameservers: [] as string[],
        },
        {
          taskId: 'task2',
          serviceId: '',
          nodeId: 'node2',
          address: '10.0.1.6',
          mac: '02:00:0a:00:01:06',
          name: 'alone',
          serving: false,
          weight: 5,
          aliases: ['db'],
          nameservers: ['9.9.9.9'],
        },
      ],
      services: [
        { id: 'web', name: 'web', aliases: ['www'], vip: '10.0.1.4', scheduler: 'mh', affinityS: 300 },
        { id: 'web2', name: 'web2', aliases: [] as string[], vip: '', scheduler: 'rr', affinityS: 0 },
      ],
      underlayMtuBytes: 0,
    },
  ],
  publishedPorts: [{ serviceId: 'web', protocol: 'tcp', publishedPort: 8080, targetPort: 80 }],
});

export type StateValue = ReturnType<typeof stateValue>;

/** The same with the keys of encrypted overlays. */
export const stateValueWithKeys = () => ({
  ...stateValue(),
  encryptionKeys: [
    { sequence: 4, sends: true, key: Buffer.alloc(32, 4) },
    { sequence: 5, sends: false, key: Buffer.alloc(32, 5) },
  ],
});
