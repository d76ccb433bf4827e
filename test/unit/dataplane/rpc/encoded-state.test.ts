import { expect, test } from 'vitest';
import { parseNodeNetworkState, toStateMessage } from '../../../../src/dataplane/parse-state.js';
import { loadDataplaneService } from '../../../../src/dataplane/rpc/definition.js';
import { encodeState } from '../../../../src/dataplane/rpc/encoded-state.js';
import type { Endpoint, NodeNetworkState } from '../../../../src/dataplane/state.js';
import { endpointKey } from '../../../../src/dataplane/state-change.js';
import type { Ip } from '../../../../src/model/addresses.js';
import type { NetworkId, TaskId } from '../../../../src/model/ids.js';
import { KeyedList } from '../../../../src/runtime/keyed-list.js';
import { stateValueWithKeys } from '../state/state-value.js';

const { SetState: method } = loadDataplaneService();
const little = parseNodeNetworkState(stateValueWithKeys());

/** With so many endpoints on each of two overlays. */
function stateOf(count: number): NodeNetworkState {
  const [overlay] = little.overlays;
  const [endpoint] = [...(overlay?.endpoints ?? [])];
  if (!overlay || !endpoint) throw new Error('the value has some');
  const endpoints = Array.from({ length: count }, (_, i): Endpoint => ({
    ...endpoint,
    taskId: `task${i}` as TaskId,
    address: `10.0.${1 + (i >> 8)}.${i & 255}` as Ip,
    aliases: i % 3 === 0 ? [`alias${i}`] : [],
  }));
  return {
    ...little,
    overlays: [
      { ...overlay, endpoints: KeyedList.of(endpoints, endpointKey) },
      { ...overlay, id: 'other' as NetworkId, endpoints: [], peers: [] },
      { ...overlay, id: 'third' as NetworkId, endpoints },
    ],
  };
}

test.each([0, 1, 256, 257, 5_000])(
  'a state of %i endpoints an overlay is the message that it was',
  (count) => {
    const state = stateOf(count);
    const octets = encodeState(state, (message) => method?.requestSerialize(message) ?? Buffer.alloc(0));
    expect(method?.requestDeserialize(octets)).toEqual(
      method?.requestDeserialize(method.requestSerialize(toStateMessage(state))),
    );
  },
);
