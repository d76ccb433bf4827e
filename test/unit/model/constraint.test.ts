import { describe, expect, test } from 'vitest';
import { parseConstraint, satisfiesConstraints } from '../../../src/model/constraint.js';
import { SkepError } from '../../../src/model/errors.js';
import { node } from '../../support/cluster-objects.js';

describe('parseConstraint', () => {
  test.each([
    ['node.role==manager', { key: 'node.role', equal: true, value: 'manager' }],
    [' node.labels.disk  !=  ssd ', { key: 'node.labels.disk', equal: false, value: 'ssd' }],
    // Splits at == wherever it stands, as Swarm does.
    ['node.labels.a==x!=y', undefined],
    ['node.ip==10.0.0.0/8', { key: 'node.ip', equal: true, value: '10.0.0.0/8' }],
  ])('%s', (text, expected) => {
    if (expected) expect(parseConstraint(text)).toEqual(expected);
    else expect(() => parseConstraint(text)).toThrow(SkepError);
  });

  test.each([
    ['node.role', 'constraint expected one operator from ==, !='],
    ['node.role=manager', 'constraint expected one operator from ==, !='],
    ['1node==x', "key '1node' is invalid"],
    ['node.role==', "value '' is invalid"],
    ['node.role==a,b', "value 'a,b' is invalid"],
    ['n==x', "key 'n' is invalid"],
    ['node.role==a\u00a0b', "value 'a\u00a0b' is invalid"],
  ])('refuses %s', (text, message) => {
    expect(() => parseConstraint(text)).toThrow(message);
  });
});

describe('satisfiesConstraints', () => {
  const rack = node('n1', { labels: { rack: 'R1', Rack: 'other' } });
  test.each([
    ['node.id==N1', true],
    ['node.hostname!=n1', false],
    ['node.role==worker', true],
    ['node.labels.rack==r1', true],
    ['NODE.LABELS.rack==r1', true],
    ['node.labels.Rack==r1', false],
    ['node.labels.rack==r*', false],
    ['node.labels.none==x', false],
    ['node.labels.none!=x', true],
    ['engine.labels.none!=x', true],
    ['node.platform.arch==x86_64', true],
    ['node.platform.arch==amd64', false],
    ['node.ip==192.0.2.1', true],
    ['node.ip==192.0.2.0/24', true],
    ['node.ip!=192.0.2.0/24', false],
    ['node.ip!=nonsense', false],
    ['node.ip==2001:db8::/32', false],
    ['node.ip!=2001:db8::/32', true],
    ['node.ip!=192.0.2.9', true],
    ['node.labels.==x', false],
    ['node.labels.!=x', false],
    ['node.colour==red', false],
    ['node.colour!=red', false],
  ])('%s is %s', (text, expected) => {
    expect(satisfiesConstraints(rack, [text])).toBe(expected);
  });

  test('a label may be called like something that every object has', () => {
    for (const label of ['constructor', 'toString', '__proto__']) {
      expect(satisfiesConstraints(rack, [`node.labels.${label}==x`])).toBe(false);
      expect(satisfiesConstraints(rack, [`engine.labels.${label}!=x`])).toBe(true);
    }
  });

  test('a node without an address is none of those named', () => {
    const nowhere = { ...rack, status: { ...rack.status, addr: '' } };
    expect(satisfiesConstraints(nowhere, ['node.ip==192.0.2.1'])).toBe(false);
    expect(satisfiesConstraints(nowhere, ['node.ip!=192.0.2.1', 'node.ip!=192.0.2.0/24'])).toBe(true);
  });

  test('all must hold', () => {
    expect(satisfiesConstraints(rack, ['node.role==worker', 'node.id==n2'])).toBe(false);
    expect(satisfiesConstraints(rack, [])).toBe(true);
  });
});
