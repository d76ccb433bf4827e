/** `traceparent` as the W3C's Trace Context has it, its section 3.2 row by row. */
import { describe, expect, test } from 'vitest';
import type { TraceId } from '../../../src/model/trace.js';
import {
  formatTraceparent,
  isTraceId,
  joinTraces,
  parseTraceparent,
  requestTrace,
  tracesMax,
  tracesOf,
} from '../../../src/model/trace.js';
import { seededBytes } from '../../support/cluster-objects.js';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';
const known = { traceId: trace, parentId: parent, flags: 1 };

describe('traceparent', () => {
  const cases: [name: string, header: string | string[] | undefined, expected: unknown][] = [
    ['none', undefined, undefined],
    ['sampled', `00-${trace}-${parent}-01`, known],
    ['not sampled', `00-${trace}-${parent}-00`, { ...known, flags: 0 }],
    ['flags that nobody knows', `00-${trace}-${parent}-ff`, { ...known, flags: 255 }],
    ['a later version', `01-${trace}-${parent}-01`, known],
    ['a later version with more behind it', `cc-${trace}-${parent}-01-what-the-future-will-be-like`, known],
    ['a later version with something stuck to it', `cc-${trace}-${parent}-01.what`, undefined],
    ['version 00 with more behind it', `00-${trace}-${parent}-01-what`, undefined],
    ['version 00 with a dash behind it', `00-${trace}-${parent}-01-`, undefined],
    ['version ff', `ff-${trace}-${parent}-01`, undefined],
    ['a version that is no number', `.0-${trace}-${parent}-01`, undefined],
    ['upper case', `00-${trace.toUpperCase()}-${parent}-01`, undefined],
    ['a trace of zeros', `00-${'0'.repeat(32)}-${parent}-01`, undefined],
    ['a parent of zeros', `00-${trace}-${'0'.repeat(16)}-01`, undefined],
    ['a trace that is too short', `00-${trace.slice(1)}-${parent}-01`, undefined],
    ['a parent that is too long', `00-${trace}-${parent}0-01`, undefined],
    ['no flags', `00-${trace}-${parent}`, undefined],
    ['a flag of one digit', `00-${trace}-${parent}-1`, undefined],
    ['two of them', `00-${trace}-${parent}-01, 00-${trace}-${parent}-01`, undefined],
    ['two of them as a list', [`00-${trace}-${parent}-01`], undefined],
    ['spaces around it', ` 00-${trace}-${parent}-01`, undefined],
    ['a line end behind it', `00-${trace}-${parent}-01\n`, undefined],
    ['nothing', '', undefined],
    ['a megabyte', '0'.repeat(1 << 20), undefined],
  ];
  test.each(cases)('%s', (_, header, expected) => {
    expect(parseTraceparent(header)).toEqual(expected);
  });

  test('what is written is read as what it was', () => {
    const ours = requestTrace(`00-${trace}-${parent}-01`, seededBytes(1));
    expect(ours).toMatchObject(known);
    expect(ours.spanId).not.toBe(parent);
    expect(parseTraceparent(formatTraceparent(ours))).toEqual({ ...known, parentId: ours.spanId });
    // Only the flag that version 00 knows is passed on.
    expect(formatTraceparent({ ...ours, flags: 255 })).toMatch(/-01$/);
  });

  test('without a caller that names one, a trace is new, random and valid', () => {
    const random = seededBytes(2);
    const made = [requestTrace(undefined, random), requestTrace('rubbish', random)];
    for (const one of made) {
      expect(one.parentId).toBeUndefined();
      expect(parseTraceparent(formatTraceparent(one))?.traceId).toBe(one.traceId);
    }
    expect(made[0]?.traceId).not.toBe(made[1]?.traceId);
    expect(isTraceId(requestTrace(undefined, (size) => new Uint8Array(size)).traceId)).toBe(true);
  });
});

const id = (number: number): TraceId => number.toString(16).padStart(32, '0') as TraceId;

test('of many objects few traces are named, each once', () => {
  expect(tracesOf([{ trace: id(1) }, undefined, {}, { trace: id(2) }, { trace: id(1) }])).toEqual([
    id(1),
    id(2),
  ]);
  const many = Array.from({ length: 100 }, (_, at) => ({ trace: id(at + 1) }));
  expect(tracesOf(many)).toHaveLength(tracesMax);
});

test('of what comes together the later traces are kept', () => {
  expect(joinTraces([id(1), id(2)], [id(2), id(3)])).toEqual([id(1), id(2), id(3)]);
  const before = Array.from({ length: tracesMax }, (_, at) => id(at + 1));
  expect(joinTraces(before, [id(99)])).toEqual([...before.slice(1), id(99)]);
  expect(joinTraces(before, [])).toBe(before);
});
